//! `rvm info`.

use rvm_engine::Engine;
use rvm_engine::container::State;
use rvm_engine::host;
use rvm_engine::image::Images;
use rvm_engine::options::isolation::Isolation;
use rvm_engine::root::Root;
use serde_json::{Value, json};

use crate::arguments_show::Info;
use crate::failure::Failure;
use crate::table;
use crate::template::Template;

pub fn run(root: &Root, arguments: &Info) -> Result<u8, Failure> {
    let info = host::info(root);
    let engine = Engine::open(root.clone())?;
    let containers = engine.list(true)?;
    let count = |test: fn(State) -> bool| {
        let states = containers.iter().map(|container| container.state);
        states.filter(|state| test(*state)).count()
    };
    let running = count(|state| state == State::Running);
    let paused = count(|state| state.shown() == "paused");
    let stopped = containers.len() - running - paused;
    let images = Images::open(root)?.list()?;
    let mut ids: Vec<_> = images.iter().map(|listed| listed.image.id).collect();
    ids.sort();
    ids.dedup();
    let isolation =
        Isolation::of_environment().map_err(|error| Failure::new(1, error.to_string()))?;
    // Docker's fields, and beside them those of this host's virtual machines.
    let mut value = json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": ids.len(),
        "Driver": "erofs",
        "LoggingDriver": "json-file",
        "Plugins": { "Log": ["json-file", "none"], "Network": ["bridge", "none"] },
        "KernelVersion": info.kernel,
        "OperatingSystem": info.operating_system,
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": info.cpus,
        "MemTotal": info.memory_bytes,
        "DockerRootDir": root.path(),
        "Name": info.name,
        "DefaultRuntime": "rvm",
        "Isolation": isolation.as_str(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    });
    if let (Some(value), Value::Object(own)) = (value.as_object_mut(), json!(info)) {
        value.extend(own);
    }
    match arguments.format.as_deref() {
        None | Some("") => {}
        Some("json") => {
            println!("{value}");
            return Ok(0);
        }
        Some(text) => {
            println!("{}", Template::parse(text)?.render(&value)?);
            return Ok(0);
        }
    }
    println!("Version: {}", env!("CARGO_PKG_VERSION"));
    println!("Containers: {}", containers.len());
    println!(" Running: {running}\n Paused: {paused}\n Stopped: {stopped}");
    println!("Images: {}", ids.len());
    println!("Storage driver: erofs");
    println!("Logging driver: json-file");
    println!("Default isolation: {}", isolation.as_str());
    println!("Root folder: {}", root.path().display());
    println!("Host kernel: {}", info.kernel);
    println!("Operating system: {}", info.operating_system);
    println!("Name: {}", info.name);
    println!("Host CPUs: {}", info.cpus);
    println!("Host memory: {}", table::binary_size(info.memory_bytes));
    println!("KVM: {}", info.kvm);
    println!("VMM: {}", info.vmm);
    println!("Guest kernel: {}", info.guest_kernel);
    Ok(0)
}
