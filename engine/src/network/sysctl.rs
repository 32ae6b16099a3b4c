//! The kernel's network parameters.

use super::NetworkError;

/// Sets a parameter below `/proc/sys/net`, unless it has the value already.
pub fn set(name: &str, value: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/{name}");
    if std::fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| NetworkError::Sysctl {
        name: format!("net/{name}"),
        source,
    })
}

/// Keeps IPv6 off an interface: its neighbour discovery would wake guests that have no IPv6 anyway.
pub fn disable_ipv6(interface: &str) -> Result<(), NetworkError> {
    // A host without IPv6 has no such parameter.
    match set(&format!("ipv6/conf/{interface}/disable_ipv6"), "1") {
        Err(NetworkError::Sysctl { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        result => result,
    }
}
