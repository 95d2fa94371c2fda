// SPDX-License-Identifier: GPL-2.0

//! One QEMU process.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{Accelerator, Environment, Scenario};

const POLL: Duration = Duration::from_millis(10);

/// Where the guest's serial ports end on the host.
pub enum Port<'a> {
    /// Bytes are appended to a file.
    File(&'a Path),
    /// QEMU connects to a listening unix socket.
    Socket(&'a Path),
    /// The terminal, with QEMU's monitor behind Ctrl-A.
    Terminal,
}

impl Port<'_> {
    fn arguments(&self, id: &str) -> [OsString; 4] {
        let backend = match self {
            Port::File(path) => format!("file,id={id},path={}", path.display()),
            Port::Socket(path) => format!("socket,id={id},path={}", path.display()),
            Port::Terminal => format!("stdio,id={id},mux=on,signal=off"),
        };
        [
            "-chardev".into(),
            backend.into(),
            "-serial".into(),
            format!("chardev:{id}").into(),
        ]
    }
}

/// QEMU puts the file into the machine's memory before the machine starts.
fn ram_file(address: u64, file: &Path) -> String {
    // A comma would start another property.
    let file = file.display().to_string().replace(',', ",,");
    format!("loader,addr={address:#x},force-raw=on,file={file}")
}

/// The machine's memory, and that of a virtio-pmem device, which counts as hot-plugged.
fn memory(environment: &Environment, scenario: &Scenario) -> Vec<String> {
    let ram = environment.memory_mib(scenario.memory_mib);
    let pmem = scenario.virtio_pmem_mib;
    if pmem == 0 {
        return vec!["-m".into(), ram.to_string()];
    }
    vec![
        "-m".into(),
        format!("{ram},maxmem={}M", ram + pmem),
        "-object".into(),
        format!("memory-backend-memfd,id=pmem,size={pmem}M,share=on"),
        "-device".into(),
        "virtio-pmem-pci,memdev=pmem".into(),
    ]
}

/// A running QEMU, killed on drop.
///
/// It is also killed when the thread that spawned it ends, for whatever reason, so that a harness
/// that is itself killed leaves no VM behind: keep the machine in the thread that made it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    errors: PathBuf,
}

impl Machine {
    /// Starts QEMU with the first two serial ports as given. It connects its monitor, which speaks
    /// QMP, to a listening unix socket.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(
        environment: &Environment,
        scenario: &Scenario,
        accelerator: Accelerator,
        console: &Port,
        agent: Option<&Port>,
        monitor: Option<&Path>,
    ) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        command.args(accelerator.arguments(environment));
        command.args(memory(environment, scenario));
        command.args(["-smp", &scenario.cpus.to_string()]);
        command.arg("-kernel").arg(&environment.kernel_image);
        if !scenario.initrd.as_os_str().is_empty() {
            command.arg("-initrd").arg(&scenario.initrd);
        }
        command.args(["-append", &scenario.command_line(environment.debug)]);
        for (address, file) in &scenario.ram_files {
            command.arg("-device").arg(ram_file(*address, file));
        }
        command.args(console.arguments("console"));
        if let Some(agent) = agent {
            command.args(agent.arguments("agent"));
        }
        if let Some(monitor) = monitor {
            let path = monitor.display();
            command.args(["-chardev", &format!("socket,id=monitor,path={path}")]);
            command.args(["-mon", "chardev=monitor,mode=control"]);
        }
        if matches!(console, Port::Terminal) {
            command.args(["-mon", "chardev=console,mode=readline"]);
        } else {
            command.stdin(Stdio::null());
        }
        let errors = environment.logs().join(format!("{}.qemu", scenario.name));
        let output = File::create(&errors)
            .with_context(|| format!("cannot write to {}", errors.display()))?;
        let child = command
            .stderr(output)
            .spawn()
            .context("cannot start QEMU through setpriv (packages qemu-system-x86, util-linux)")?;
        Ok(Self { child, errors })
    }

    /// Waits for the VM to end by itself; `None` when it is still running at the limit.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < deadline => thread::sleep(POLL),
                status => return Ok(status),
            }
        }
    }

    /// Waits without a limit, for a VM that a person uses.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn wait_for_user(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// What QEMU itself complained about.
    pub fn complaints(&self) -> String {
        fs::read_to_string(&self.errors)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both only fail when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
