// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use super::{inode::Inode, volume::Devices, Erofs};
use crate::vfs::{NameList, Namespace};
use erodax_format::{
    inode::Inode as FormatInode,
    xattr::{
        Xattrs, INDEX_POSIX_ACL_ACCESS, INDEX_POSIX_ACL_DEFAULT, INDEX_SECURITY, INDEX_TRUSTED,
        INDEX_USER, NAME_MAX,
    },
};
use kernel::prelude::*;

impl Erofs {
    fn xattrs(&self) -> Xattrs<'_, Devices> {
        Xattrs::new(&self.devices, &self.sb, &self.prefixes)
    }

    /// Copies a value to `out`, unless that is empty; returns its length.
    pub(super) fn get_xattr(
        &self,
        inode: &Inode,
        namespace: Namespace,
        name: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        let index = match namespace {
            Namespace::User if !self.options.has_user_xattrs() => return Err(EOPNOTSUPP),
            Namespace::User => INDEX_USER,
            Namespace::AclAccess => INDEX_POSIX_ACL_ACCESS,
            Namespace::AclDefault => INDEX_POSIX_ACL_DEFAULT,
            Namespace::Trusted => INDEX_TRUSTED,
            Namespace::Security => INDEX_SECURITY,
        };
        let len = self
            .xattrs()
            .get(&inode.disk, index, name, out)
            .map_err(|error| self.report(inode.disk.nid, error))?
            .ok_or(ENODATA)?;
        if !out.is_empty() && len > out.len() {
            return Err(ERANGE);
        }
        Ok(len)
    }

    /// Lists the names.
    pub(super) fn list_names(&self, inode: &Inode, out: &mut NameList<'_>) -> Result {
        let xattrs = self.xattrs();
        let fail = |error| self.report(inode.disk.nid, error);
        let mut list = xattrs.list(&inode.disk).map_err(fail)?;
        let mut buffer = KVec::new();
        while let Some(entry) = list.next(&xattrs).map_err(fail)? {
            let namespace = match entry.index {
                INDEX_USER if self.options.has_user_xattrs() => Namespace::User,
                INDEX_POSIX_ACL_ACCESS if self.options.has_acls() => Namespace::AclAccess,
                INDEX_POSIX_ACL_DEFAULT if self.options.has_acls() => Namespace::AclDefault,
                INDEX_TRUSTED => Namespace::Trusted,
                INDEX_SECURITY => Namespace::Security,
                _ => continue,
            };
            if buffer.is_empty() {
                // Too long for the stack.
                buffer = KVec::from_elem(0, NAME_MAX, GFP_KERNEL)?;
            }
            let name = xattrs.copy_name(&entry, &mut buffer).map_err(fail)?;
            out.add(namespace, name)?;
        }
        Ok(())
    }

    /// Whether an inode may have an ACL. An error comes up again when it is looked for.
    pub(super) fn may_have_acl(&self, disk: &FormatInode) -> bool {
        disk.xattr_size() != 0
            && self.options.has_acls()
            && self.xattrs().may_have_acl(disk).unwrap_or(true)
    }
}
