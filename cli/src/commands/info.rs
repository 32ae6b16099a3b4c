//! `rvm info`.

use rvm_engine::host;
use rvm_engine::root::Root;

use crate::arguments::Info;
use crate::failure::Failure;

pub fn run(root: &Root, arguments: &Info) -> Result<u8, Failure> {
    let info = host::info(root);
    if arguments.format.is_some() {
        println!("{}", serde_json::json!(info));
        return Ok(0);
    }
    println!("Version: {}", env!("CARGO_PKG_VERSION"));
    println!("Root folder: {}", root.path().display());
    println!("Host kernel: {}", info.kernel);
    println!("Host CPUs: {}", info.cpus);
    println!("Host memory: {} MiB", info.memory_mib);
    println!("KVM: {}", info.kvm);
    println!("VMM: {}", info.vmm);
    println!("Guest kernel: {}", info.guest_kernel);
    Ok(0)
}
