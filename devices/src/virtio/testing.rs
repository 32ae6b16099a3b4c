//! Helpers of the devices' unit tests.
