//! The files of a log: the one that is written, and `.1`, `.2` and so on behind it, the oldest with the highest number.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The names of a log's files.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// The log whose newest file is `path`.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn path(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.0.clone();
        }
        let mut name = self.0.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Makes room for a new file of `count` in all; the oldest goes. Readers of any of them read on in what they have open.
    pub fn rotate(&self, count: u32) -> io::Result<()> {
        if count < 2 {
            return absent_is_well(fs::remove_file(self.path(0)));
        }
        for number in (1..count).rev() {
            absent_is_well(fs::rename(self.path(number - 1), self.path(number)))?;
        }
        Ok(())
    }

    /// All files, open, the oldest first.
    pub fn open(&self) -> io::Result<Vec<File>> {
        loop {
            let numbers = self.numbers()?;
            let mut files = Vec::new();
            for number in numbers.iter().rev() {
                files.extend(open(&self.path(*number))?);
            }
            // A rotation meanwhile has moved a file to where it was not looked for any more, or once more.
            if self.are_now(&files)? {
                return Ok(files);
            }
        }
    }

    fn are_now(&self, files: &[File]) -> io::Result<bool> {
        let opened: Vec<Identity> = files.iter().map(identity).collect::<Result<_, _>>()?;
        let mut now = Vec::new();
        for number in self.numbers()?.iter().rev() {
            now.extend(self.identity(*number)?);
        }
        Ok(opened == now)
    }

    /// The file that was begun after `file` was full; `None` while `file` is the newest one. When `file` is so old that it is gone, the
    /// oldest one there is.
    pub fn after(&self, file: &File) -> io::Result<Option<File>> {
        let wanted = identity(file)?;
        loop {
            let place = self.place(wanted)?;
            // One that was only looked for where it was before has a name still.
            if place.is_none() && file.metadata()?.nlink() > 0 {
                continue;
            }
            let Some(next) = self.before(place)? else {
                return Ok(None);
            };
            let Some(opened) = open(&self.path(next))? else {
                continue;
            };
            // A rotation is many renames: nothing may have moved while this was found out.
            let is_next = self.before(place)? == Some(next)
                && self.identity(next)? == Some(identity(&opened)?);
            if is_next && self.place(wanted)? == place {
                return Ok(Some(opened));
            }
        }
    }

    /// The number that a file has now.
    fn place(&self, wanted: Identity) -> io::Result<Option<u32>> {
        for number in self.numbers()? {
            if self.identity(number)? == Some(wanted) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The highest number below `place`, or the highest of all.
    fn before(&self, place: Option<u32>) -> io::Result<Option<u32>> {
        let mut numbers = self.numbers()?.into_iter();
        Ok(numbers.rfind(|number| place.is_none_or(|place| *number < place)))
    }

    /// The numbers of the files that are there, in order.
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.0.parent().unwrap_or(Path::new("."));
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers: Vec<u32> = entries
            .flatten()
            .filter_map(|entry| {
                let entry = entry.file_name();
                let rest = entry.to_str()?.strip_prefix(&*name)?;
                match rest.strip_prefix('.') {
                    Some(number) => number.parse().ok(),
                    None => rest.is_empty().then_some(0),
                }
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn identity(&self, number: u32) -> io::Result<Option<Identity>> {
        match fs::metadata(self.path(number)) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

type Identity = (u64, u64);

fn identity(file: &File) -> io::Result<Identity> {
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn absent_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
