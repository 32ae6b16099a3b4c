//! What isolation costs and what it buys: benchmarks of `rvm` in its isolations, and what a process inside them sees.
//!
//! The command `rvm` itself is what is measured, as a user would type it; nothing here reaches past it.

mod compare;
mod driver;
mod host_processes;
mod html;
mod instance;
mod isolation;
mod machine;
mod metric;
mod network;
mod report;
mod rounds;
mod statistics;
mod steps;
mod table;
mod target;
mod units;
mod workload;

pub use compare::{Change, Comparison, Difference, compare};
pub use driver::{Driver, Error};
pub use html::page;
pub use isolation::{IsolationReport, Row, look};
pub use machine::Machine;
pub use metric::{Better, Group, Metric};
pub use report::{Figure, Report, Series};
pub use rounds::{Observer, Plan, measure};
pub use statistics::{Interval, outliers};
pub use table::text;
pub use target::Target;
