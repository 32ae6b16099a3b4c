//! `rvm top`.

use rvm_engine::Engine;

use crate::arguments_show::Top;
use crate::failure::Failure;
use crate::table;

pub fn run(engine: &Engine, command: &Top) -> Result<u8, Failure> {
    let container = engine.find(&command.container)?;
    let processes = engine.processes(&container, &command.options)?;
    let titles: Vec<&str> = processes.titles.iter().map(String::as_str).collect();
    table::print(&titles, &processes.rows);
    Ok(0)
}
