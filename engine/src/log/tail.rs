//! Where the last lines of a file begin, without reading the rest of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const CHUNK: usize = 64 << 10;

/// Where the last `count` whole lines begin, and how many of them there are.
pub fn begin(file: &File, count: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    let mut found = 0;
    // Where the line begins whose end was met last.
    let mut last_end = None;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let length = (end - start) as usize;
        file.read_exact_at(&mut chunk[..length], start)?;
        for at in (0..length).rev().filter(|at| chunk[*at] == b'\n') {
            let behind = start + at as u64 + 1;
            if last_end.is_some() {
                found += 1;
            }
            if found == count {
                return Ok((behind, found));
            }
            last_end = Some(behind);
        }
        end = start;
    }
    let whole = usize::from(last_end.is_some());
    Ok((0, found + whole))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_counted_from_the_end() {
        let mut file = tempfile::tempfile().expect("file");
        let line = "x".repeat(CHUNK / 2);
        write!(file, "a\n{line}\nb\n{line}\nunfinished").expect("write");
        let length = line.len() as u64 + 1;
        for (count, begin_at, found) in [
            (0, 2 + length + 2 + length, 0),
            (1, 2 + length + 2, 1),
            (2, 2 + length, 2),
            (3, 2, 3),
            (4, 0, 4),
            (9, 0, 4),
        ] {
            assert_eq!(
                begin(&file, count).expect("read"),
                (begin_at, found),
                "{count}"
            );
        }
        let empty = tempfile::tempfile().expect("file");
        assert_eq!(begin(&empty, 3).expect("read"), (0, 0));
    }
}
