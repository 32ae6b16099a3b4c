//! `rvm version`.

use rvm_engine::host;
use rvm_engine::root::Root;
use serde_json::json;

use crate::arguments_show::Version;
use crate::failure::Failure;
use crate::template::Template;

pub fn run(root: &Root, command: &Version) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let info = host::info(root);
    // There is no server: the command does its work itself. Scripts that ask for one's version get the same.
    let value = json!({
        "Client": { "Version": version, "Os": "linux", "Arch": "amd64" },
        "Server": {
            "Platform": { "Name": "rvm" },
            "Components": [
                { "Name": "Engine", "Version": version },
                { "Name": "rvm-vmm", "Version": version },
            ],
            "Version": version,
            "Os": "linux",
            "Arch": "amd64",
            "KernelVersion": info.kernel,
        },
    });
    match command.format.as_deref() {
        None | Some("") => {
            println!("Client:\n Version:          {version}\n OS/Arch:          linux/amd64\n");
            println!("Server: none, each command does its work itself\n Engine:");
            println!("  Version:         {version}\n  OS/Arch:         linux/amd64");
            println!("  Kernel version:  {}", info.kernel);
            println!("  VMM:             {}", info.vmm);
            println!("  Guest kernel:    {}", info.guest_kernel);
        }
        Some("json") => println!("{value}"),
        Some(text) => println!("{}", Template::parse(text)?.render(&value)?),
    }
    Ok(0)
}
