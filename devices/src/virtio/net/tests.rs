//! Tests of the network interface.
