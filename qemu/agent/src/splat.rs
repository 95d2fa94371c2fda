// SPDX-License-Identifier: GPL-2.0

//! Finds kernel complaints in console output: warnings, oopses, sanitizer reports.

/// What the kernel prints when something is wrong with it, rather than with its input.
const SIGNS: [&str; 15] = [
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Oops",
    "Call Trace",
    "general protection",
    "KASAN",
    "UBSAN",
    "KFENCE",
    "Kernel panic",
    "kernel panic",
    "refcount_t:",
    "unregister_netdevice: waiting",
    "Bad page state",
    "new suspected memory leaks",
];

/// Lines before the sign that an excerpt shows.
const BEFORE: usize = 2;
/// Lines of an excerpt after its sign: a warning with its trace takes about 40.
const AFTER: usize = 45;

/// The first complaint in `console` with the lines around it, or `None`.
pub fn find(console: &str) -> Option<String> {
    let lines: Vec<&str> = console.lines().collect();
    let at =
        (0..lines.len()).find(|&at| is_sign(lines[at]) && !is_of_missing_memory(&lines[..at]))?;
    let end = lines.len().min(at + AFTER);
    Some(lines[at.saturating_sub(BEFORE)..end].join("\n"))
}

fn is_sign(line: &str) -> bool {
    let hung_task = line.contains("INFO: task ") && line.contains(" blocked for more than");
    let stall = line.contains("INFO: rcu_") && line.contains("detected");
    hung_task || stall || SIGNS.iter().any(|sign| line.contains(sign))
}

/// Whether a trace after these lines only shows who has met the end of the memory, or of a cgroup's,
/// or an injected failure: that is nothing wrong with the kernel.
fn is_of_missing_memory(before: &[&str]) -> bool {
    const REPORTS: [&str; 2] = [" invoked oom-killer: ", "__kmem_cache_create_args("];
    /// From the first line of such a report to its trace: CPU, taint, hardware.
    const HEAD: usize = 4;
    before
        .iter()
        .rev()
        .take(HEAD)
        .any(|line| REPORTS.iter().any(|report| line.contains(report)))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn complaints_are_found() {
        for line in [
            "[    1.0] WARNING: mm/memory.c:2345 at vm_insert_page+0x10/0x20, CPU#0: x/1",
            "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "[    1.0] BUG: soft lockup - CPU#0 stuck for 22s! [x:1]",
            "[    1.0] kernel BUG at fs/inode.c:1!",
            "[    1.0] Oops: general protection fault, probably for non-canonical address",
            "[    1.0] UBSAN: array-index-out-of-bounds in fs/x.c:1:2",
            "[    1.0] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
            "[    1.0] INFO: task erodax-guest:77 blocked for more than 20 seconds.",
            "[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[    1.0] Kernel panic - not syncing: Attempted to kill init!",
            "[    1.0] BUG: Bad page state in process x  pfn:1",
            "[    1.0] refcount_t: underflow; use-after-free.",
            "[    1.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
        ] {
            assert!(find(line).is_some(), "missed: {line}");
        }
    }

    #[test]
    fn ordinary_messages_are_not() {
        for line in [
            "[    1.0] erodax: loading out-of-tree module taints kernel.",
            "[    1.0] erodax: module verification failed: signature and/or required key missing - tainting kernel",
            "[    1.0] erodax: erodax0: superblock checksum does not match",
            "[    1.0] Warning: unable to open an initial console.",
            "[    1.0] debug: unmapping init memory",
            "[    1.0] erodax-test: begin mount::unknown_option",
        ] {
            assert_eq!(find(line), None);
        }
    }

    #[test]
    fn missing_memory_is_no_complaint() {
        let report = "init invoked oom-killer: gfp_mask=0xcc0\nCPU: 0 UID: 0\nTainted: [O]=OOT\n\
                      Hardware name: QEMU\nCall Trace:\n <TASK>\n";
        assert_eq!(find(report), None);
        let more = format!("{report}some more\nlines\nCall Trace:\n");
        assert!(find(&more).is_some_and(|found| found.ends_with("lines\nCall Trace:")));
    }

    #[test]
    fn the_excerpt_has_the_lines_around() {
        let mut console = String::from("far\nnear 1\nnear 2\nWARNING: here\n");
        for line in 0..100 {
            console.push_str(&format!("trace {line}\n"));
        }
        let excerpt = find(&console).unwrap();
        assert!(
            excerpt.starts_with("near 1\nnear 2\nWARNING: here\ntrace 0\n"),
            "{excerpt}"
        );
        assert_eq!(excerpt.lines().count(), 2 + 45);
    }
}
