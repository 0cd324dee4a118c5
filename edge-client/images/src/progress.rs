//! How far a pull is: one line for people, made anew as it goes on.

use std::fmt;

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Other pulls have their turn first.
    Waiting,
    /// Asking which image it is.
    Resolving,
    /// Fetching layers.
    Downloading,
    /// Unpacking a layer.
    Unpacking,
}

/// A moment of a pull. Told at most once a second, and at each change of phase or layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Layers that are there, of `layers`.
    pub layers_done: usize,
    /// Layers of the image; 0 while that is not known.
    pub layers: usize,
    /// Bytes that were fetched or were there, of `bytes_total`.
    pub bytes: u64,
    /// Bytes of all layers as they are sent.
    pub bytes_total: u64,
    /// Bytes per second, over the last seconds.
    pub rate: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Phase::Waiting => f.write_str("waiting for other pulls"),
            Phase::Resolving => f.write_str("asking the registry"),
            Phase::Downloading | Phase::Unpacking => {
                let layer = (self.layers_done + 1).min(self.layers);
                let doing = if self.phase == Phase::Unpacking { ", unpacking" } else { "" };
                write!(f, "layer {layer} of {}, {} of {}", self.layers, Bytes(self.bytes), Bytes(self.bytes_total))?;
                write!(f, ", {}/s{doing}", Bytes(self.rate))
            }
        }
    }
}

/// A number of bytes for people: `12.3 MiB`.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tenths = u128::from(self.0) * 10;
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            if tenths < 10_240 {
                break;
            }
            tenths /= 1024;
            unit = larger;
        }
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people() {
        let progress = Progress {
            phase: Phase::Downloading,
            layers_done: 1,
            layers: 5,
            bytes: 12_900_000,
            bytes_total: 50_331_648,
            rate: 1_000,
        };
        assert_eq!(progress.to_string(), "layer 2 of 5, 12.3 MiB of 48.0 MiB, 1000 B/s");
        assert_eq!(Bytes(u64::MAX).to_string(), "15.9 EiB");
    }
}
