//! What is measured: an isolation, or something to hold it against.

use serde::{Deserialize, Serialize};

use crate::metric::Metric;

/// A way to run an image's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A microVM, from its template.
    Vm,
    /// A container on the host, by rvm's own runtime.
    Container,
    /// A microVM that boots.
    Cold,
    /// A container on the host, by crun.
    Crun,
    /// A container on the host, by runc.
    Runc,
    /// A process of the host, without an image.
    Bare,
}

impl Target {
    /// As it is written on the command line and in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Container => "container",
            Self::Cold => "cold",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Bare => "bare",
        }
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vm => "microVM",
            Self::Container => "container",
            Self::Cold => "microVM, booted",
            Self::Crun => "container by crun",
            Self::Runc => "container by runc",
            Self::Bare => "bare process",
        }
    }

    /// The options of `rvm run` that choose it.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Vm => &["--isolation", "vm"],
            Self::Container => &["--isolation", "container"],
            Self::Cold => &["--isolation", "vm", "--no-template"],
            Self::Crun => &["--isolation", "container", "--runtime", "crun"],
            Self::Runc => &["--isolation", "container", "--runtime", "runc"],
            Self::Bare => &[],
        }
    }

    /// Whether it has such a figure.
    pub fn has(self, metric: Metric) -> bool {
        match self {
            Self::Vm | Self::Container | Self::Crun | Self::Runc => true,
            // Once it runs, it is a microVM as any other.
            Self::Cold => matches!(metric, Metric::Start | Metric::Command),
            // Without an instance there is nothing to stop, to weigh or to store.
            Self::Bare => {
                metric.work().is_some()
                    || metric.is_network()
                    || matches!(metric, Metric::Start | Metric::Command)
            }
        }
    }
}
