// SPDX-License-Identifier: GPL-2.0

//! The DAX layer: memory that holds EROFS images, as DAX devices.
//!
//! `param` reads what the user asks for, `region` decides which memory may be served,
//! `initrd` finds it in the retained initrd, `carve_out` makes pages of memory that the kernel
//! does not use, `device` makes a `dax_device` and a character device of each region, `fsdax`
//! takes the memory of other drivers' DAX devices, `source` turns a mount source into a `View` of
//! its memory and `mapping` inserts the pages of such a view into user mappings, as many at a
//! time as `window` chooses.

mod carve_out;
mod chardev;
mod device;
mod fsdax;
mod initrd;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod mapping;
mod memory;
mod param;
mod region;
mod source;
mod sysfs;
mod window;

pub(crate) use device::Devices;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) use kunit::TestDevice;
pub(crate) use mapping::Run;
pub(crate) use memory::zero_iter;
pub(crate) use source::{DeviceId, SourceError, View};

use crate::bindings;
use kernel::{error::to_result, prelude::*, sync::Arc};
use region::Region;

/// The memory that the `region=` parameter names, of which [`Devices`] are made.
///
/// Every refusal has been written to the kernel log when this returns.
///
/// Without the parameter there is none: there may be others' to mount.
pub(crate) fn regions(parameter: Option<&[u8]>) -> Result<KVec<Arc<Region>>> {
    fsdax::init();
    let Some(parameter) = parameter else {
        return Ok(KVec::new());
    };
    let request = param::parse(parameter).map_err(|error| {
        pr_err!("{}\n", error.advice());
        match error {
            param::ParamError::Overflow => ERANGE,
            _ => EINVAL,
        }
    })?;
    match request {
        param::Request::Initrd => initrd::images(),
        param::Request::Ranges(ranges) => {
            refuse_under_lockdown()?;
            let mut regions = KVec::new();
            let mut carve_outs = carve_out::CarveOuts::new(ranges);
            for range in ranges {
                regions.push(Region::at(range, &mut carve_outs)?, GFP_KERNEL)?;
            }
            Ok(regions)
        }
    }
}

/// Addresses chosen by the user are what kernel lockdown keeps from module parameters.
fn refuse_under_lockdown() -> Result {
    let reason = bindings::lockdown_reason_LOCKDOWN_MODULE_PARAMETERS;
    // SAFETY: Only reads the reason; may be called from any context.
    let answer = to_result(unsafe { bindings::security_locked_down(reason) });
    answer.inspect_err(|_| {
        pr_err!("region= with addresses is refused under kernel lockdown: use region=initrd\n")
    })
}
