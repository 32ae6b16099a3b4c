//! The commands of images and registries.

mod filter;
pub mod import;
pub mod inspect;
pub mod list;
pub mod load;
pub mod login;
pub mod names;
mod progress;
pub mod pull;
pub mod push;
pub mod save;
pub mod search;

use rvm_engine::root::Root;

use crate::arguments_image::Image;
use crate::failure::Failure;

/// `rvm image …`.
pub fn run(root: Root, command: Image) -> Result<u8, Failure> {
    match command {
        Image::Ls(command) => list::run(&root, &command),
        Image::Pull(command) => pull::run(&root, &command),
        Image::Push(command) => push::run(&root, &command),
        Image::Tag(command) => names::tag(&root, &command),
        Image::Rm(command) => names::remove(&super::engine(root)?, &command),
        Image::Load(command) => load::run(&root, &command),
        Image::Save(command) => save::run(&root, &command),
        Image::History(command) => inspect::history(&root, &command),
        Image::Import(command) => import::run(&root, &command),
        Image::Prune(command) => super::prune::images(&super::engine(root)?, &command),
        Image::Inspect(command) => inspect::run(&root, &command),
    }
}
