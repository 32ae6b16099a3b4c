//! Trees of files as tar streams: what crosses between the host and a guest, and what layers are made of.
//!
//! Neither side trusts the other's archive: names are resolved inside one folder and never lead out of it, nothing is reserved on
//! a header's word, and what is damaged is an error.

pub mod pack;
pub mod tar;
pub mod unpack;
mod writer;

pub use writer::TarWriter;
