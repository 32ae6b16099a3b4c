//! A file in the writable layer, written onto the disk and read back.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one call.
const BLOCK: usize = 64 << 10;

/// No file grows larger.
const LIMIT: u64 = 256 << 20;

/// A file without a name, so that it goes with the program.
#[derive(Debug)]
pub struct Scratch(File);

impl Scratch {
    /// An empty one, on the file system of a folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!(".rvm-workload-{}", std::process::id()));
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self(file))
    }

    /// Bytes per second that it takes, from its beginning on, until they are on the disk.
    pub fn write(&mut self, budget: Duration) -> io::Result<f64> {
        let block = vec![0x5a; BLOCK];
        self.0.set_len(0)?;
        self.0.rewind()?;
        let begin = Instant::now();
        let mut size = 0;
        while begin.elapsed() < budget / 2 && size < LIMIT {
            self.0.write_all(&block)?;
            size += BLOCK as u64;
        }
        self.0.sync_data()?;
        Ok(size as f64 / begin.elapsed().as_secs_f64())
    }

    /// Bytes per second that it gives, over and over.
    pub fn read(&mut self, budget: Duration) -> io::Result<f64> {
        if self.0.metadata()?.len() == 0 {
            self.write(budget)?;
        }
        let mut block = vec![0; BLOCK];
        let begin = Instant::now();
        let mut size = 0;
        self.0.rewind()?;
        while begin.elapsed() < budget {
            match self.0.read(&mut block)? {
                0 => self.0.rewind()?,
                count => size += count as u64,
            }
        }
        Ok(size as f64 / begin.elapsed().as_secs_f64())
    }
}
