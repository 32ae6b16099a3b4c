//! The integration tests of `rvm`, in `tests/rvm`, need a crate to belong to; this is it, and has no code of its own.
