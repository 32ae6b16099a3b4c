//! `rvm port`.

use rvm_engine::Engine;
use rvm_engine::options::port::Publish;

use crate::arguments_show::Port;
use crate::failure::Failure;

pub fn run(engine: &Engine, command: &Port) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    let endpoint = container.endpoint.iter();
    let mut ports: Vec<&Publish> = endpoint.flat_map(|endpoint| &endpoint.ports).collect();
    ports.sort_by_key(|port| (port.container_port, port.protocol, port.host_port));
    let Some(wanted) = &command.port else {
        for port in ports {
            println!(
                "{}/{} -> {}:{}",
                port.container_port, port.protocol, port.host_address, port.host_port
            );
        }
        return Ok(0);
    };
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let number: u16 = number
        .parse()
        .map_err(|_| Failure::new(1, format!("invalid port '{wanted}'")))?;
    ports.retain(|port| port.container_port == number && port.protocol.to_string() == protocol);
    if ports.is_empty() {
        let name = &command.container;
        return Err(Failure::new(
            1,
            format!("No public port '{number}/{protocol}' published for {name}"),
        ));
    }
    for port in ports {
        println!("{}:{}", port.host_address, port.host_port);
    }
    Ok(0)
}
