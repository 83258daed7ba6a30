//! Bounds-checked little-endian decoding, the checksum of HDF5 metadata, and the error of this module.

use std::io;

/// Why a piece of HDF5 could not be read. The path is added where the file is known.
#[derive(Debug)]
pub(crate) enum H5Error {
    /// The system refused to read.
    Io(io::Error),
    /// The structure contradicts itself or points outside the file.
    Bad(String),
    /// Sound, but not decoded here: what, and what to do about it.
    Unsupported(String),
    /// No object of that name.
    Missing(String),
}

pub(crate) type H5Result<T> = std::result::Result<T, H5Error>;

/// Shorthand for [`H5Error::Bad`].
pub(crate) fn bad<T>(reason: impl Into<String>) -> H5Result<T> {
    Err(H5Error::Bad(reason.into()))
}

impl std::fmt::Display for H5Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => write!(f, "{e}"),
            Self::Bad(s) | Self::Unsupported(s) => f.write_str(s),
            Self::Missing(s) => write!(f, "{s} does not exist"),
        }
    }
}

/// Reads numbers off a slice; every step past its end is an error, never a panic.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    buf: &'a [u8],
    pos: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(buf: &'a [u8], what: &'static str) -> Self {
        Self { buf, pos: 0, what }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    pub(crate) fn position(&self) -> usize {
        self.pos
    }

    pub(crate) fn bytes(&mut self, n: usize) -> H5Result<&'a [u8]> {
        match self.pos.checked_add(n).and_then(|end| self.buf.get(self.pos..end)) {
            Some(slice) => {
                self.pos += n;
                Ok(slice)
            }
            None => bad(format!("{} ends too early", self.what)),
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let slice = &self.buf[self.pos..];
        self.pos = self.buf.len();
        slice
    }

    pub(crate) fn skip(&mut self, n: usize) -> H5Result<()> {
        self.bytes(n).map(|_| ())
    }

    /// Unsigned number of `n` ≤ 8 bytes.
    pub(crate) fn uint(&mut self, n: usize) -> H5Result<u64> {
        if n > 8 {
            return bad(format!("{}: a number of {n} bytes", self.what));
        }
        Ok(self.bytes(n)?.iter().rev().fold(0, |acc, &b| acc << 8 | u64::from(b)))
    }

    pub(crate) fn u8(&mut self) -> H5Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> H5Result<u16> {
        Ok(self.uint(2)? as u16)
    }

    pub(crate) fn u32(&mut self) -> H5Result<u32> {
        Ok(self.uint(4)? as u32)
    }

    pub(crate) fn signature(&mut self, expected: &[u8; 4]) -> H5Result<()> {
        let found = self.bytes(4)?;
        if found == expected {
            return Ok(());
        }
        bad(format!("{}: signature {} expected, {} found", self.what, show(expected), show(found)))
    }

    /// Text up to a zero byte.
    pub(crate) fn c_string(&mut self) -> H5Result<String> {
        let rest = &self.buf[self.pos..];
        match rest.iter().position(|&b| b == 0) {
            Some(n) => {
                self.pos += n + 1;
                Ok(String::from_utf8_lossy(&rest[..n]).into_owned())
            }
            None => bad(format!("{}: text without an end", self.what)),
        }
    }
}

/// Bytes for a message.
pub(crate) fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// Text up to the first zero, without trailing blanks.
pub(crate) fn text_until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Checksum of HDF5 metadata: Bob Jenkins' lookup3 (`hashlittle`), initial value 0.
pub(crate) fn lookup3(data: &[u8]) -> u32 {
    let word = |s: &[u8]| s.iter().rev().fold(0u32, |acc, &b| acc << 8 | u32::from(b));
    let start = 0xdead_beef_u32.wrapping_add(data.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = data;
    while rest.len() > 12 {
        a = a.wrapping_add(word(&rest[0..4]));
        b = b.wrapping_add(word(&rest[4..8]));
        c = c.wrapping_add(word(&rest[8..12]));
        for (shift, next) in [(4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)] {
            let (x, y, z) = match next {
                0 => (&mut a, &mut c, &mut b),
                1 => (&mut b, &mut a, &mut c),
                _ => (&mut c, &mut b, &mut a),
            };
            *x = x.wrapping_sub(*y) ^ y.rotate_left(shift);
            *y = y.wrapping_add(*z);
        }
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    let at = |from: usize| word(&rest[from.min(rest.len())..(from + 4).min(rest.len())]);
    a = a.wrapping_add(at(0));
    b = b.wrapping_add(at(4));
    c = c.wrapping_add(at(8));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The part of a metadata block before its checksum, if the checksum fits.
pub(crate) fn checked<'a>(block: &'a [u8], what: &str) -> H5Result<&'a [u8]> {
    let Some(n) = block.len().checked_sub(4) else { return bad(format!("{what} is too short")) };
    let stored = u32::from_le_bytes([block[n], block[n + 1], block[n + 2], block[n + 3]]);
    let computed = lookup3(&block[..n]);
    if stored != computed {
        return bad(format!("{what}: checksum {computed:08x} does not match the stored {stored:08x}"));
    }
    Ok(&block[..n])
}

/// Bytes needed to store numbers up to `max`.
pub(crate) fn bytes_for(max: u64) -> usize {
    (max.max(1).ilog2() / 8 + 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_matches_the_published_vectors() {
        // From the driver at the end of Jenkins' lookup3.c: hashlittle of the text with initial value 0.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }

    #[test]
    fn cursor_refuses_to_leave_its_slice() {
        let mut c = Cursor::new(&[1, 2, 3], "three bytes");
        assert_eq!(c.u16().unwrap(), 0x0201);
        assert!(c.u16().is_err());
        assert!(c.bytes(usize::MAX).is_err());
        assert_eq!(c.u8().unwrap(), 3);
    }
}
