//! What issue and manual promise, each promise tried on real microVMs and judged by other people's tools.

mod archives;
mod bad_input;
mod container_defaults;
mod crashes;
mod damaged_images;
mod image_config;
mod image_lists;
mod kernel_config;
mod leaves_nothing;
mod lifecycle;
mod load;
mod network;
mod registries;
mod run;
mod same_tree;
mod signals;
mod streams;
mod support;
mod terminal;
mod vector_registers;
