//! Maps of sparse files: the old GNU header's, and the three that GNU tar writes in PAX headers.

use super::header::{BLOCK, number};
use super::pax::decimal;

/// More pieces than any real file has; keeps a hostile map from taking memory.
pub(super) const MAX_EXTENTS: usize = 1 << 18;

/// Where the data of a sparse file goes: offset and length of each piece, in the order of the data.
pub(super) type Extents = Vec<(u64, u64)>;

/// Appends the pieces of one table of 24-byte elements; `None` when one is malformed.
pub(super) fn old_gnu_table(table: &[u8], extents: &mut Extents) -> Option<()> {
    for element in table.as_chunks::<24>().0 {
        // An element without data ends the table.
        if element[12] == 0 {
            break;
        }
        let offset = number(&element[..12])?.try_into().ok()?;
        let length = number(&element[12..])?.try_into().ok()?;
        extents.push((offset, length));
    }
    Some(())
}

/// `GNU.sparse.map` of format 0.1, and the repeated offsets and lengths of 0.0 joined the same way.
pub(super) fn from_comma_list(list: &[u8]) -> Option<Extents> {
    let numbers: Vec<u64> = list
        .split(|&byte| byte == b',')
        .take(2 * MAX_EXTENTS + 1)
        .map(decimal)
        .collect::<Option<_>>()?;
    if !numbers.len().is_multiple_of(2) {
        return None;
    }
    Some(
        numbers
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&[offset, length]| (offset, length))
            .collect(),
    )
}

/// Reads format 1.0, whose map stands in front of the data: decimal lines, filled up to a block.
///
/// `next` gives the following block of the entry. The number of blocks taken is the second value.
pub(super) fn from_data<E>(
    mut next: impl FnMut() -> Result<[u8; BLOCK], E>,
    malformed: impl Fn() -> E,
) -> Result<(Extents, u64), E> {
    let mut text = Vec::new();
    let mut blocks = 0;
    let mut numbers: Vec<u64> = Vec::new();
    let mut expected = 1;
    while numbers.len() < expected {
        text.extend_from_slice(&next()?);
        blocks += 1;
        let mut start = 0;
        while numbers.len() < expected {
            let Some(end) = text[start..].iter().position(|&byte| byte == b'\n') else {
                break;
            };
            numbers.push(decimal(&text[start..start + end]).ok_or_else(&malformed)?);
            start += end + 1;
            if numbers.len() == 1 {
                let pairs = usize::try_from(numbers[0])
                    .ok()
                    .filter(|&n| n <= MAX_EXTENTS);
                expected = 1 + 2 * pairs.ok_or_else(&malformed)?;
            }
        }
        text.drain(..start);
        // A number has at most 20 digits.
        if text.len() > BLOCK && numbers.len() < expected {
            return Err(malformed());
        }
    }
    let pairs = numbers[1..].as_chunks::<2>().0;
    Ok((
        pairs
            .iter()
            .map(|&[offset, length]| (offset, length))
            .collect(),
        blocks,
    ))
}

/// Whether the pieces are in order, do not overlap, end within `size` and hold `stored` bytes.
pub(super) fn are_sound(extents: &[(u64, u64)], size: u64, stored: u64) -> bool {
    let mut end = 0;
    let mut sum = 0u64;
    for &(offset, length) in extents {
        let Some(next) = offset
            .checked_add(length)
            .filter(|&next| offset >= end && next <= size)
        else {
            return false;
        };
        end = next;
        sum += length;
    }
    sum == stored
}
