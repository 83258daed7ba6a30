//! The part of Python's pickle that plain values need, for workers that know nothing else.
//!
//! Written is protocol 2, which every Python 3 reads. Read is what protocols 2 to 5 make of plain values (null,
//! truth, numbers, text, lists, tuples, dictionaries); anything that would build an object is an error, so
//! nothing is ever executed.

use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// Values in values; deeper ones are refused.
const DEEPEST: usize = 128;

/// A tuple of two texts: how a function's name and source are pickled.
pub fn pair(one: &str, other: &str) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    text(&mut out, one);
    text(&mut out, other);
    out.extend_from_slice(&[0x86, b'.']);
    out
}

/// A plain value.
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    put(&mut out, value);
    out.push(b'.');
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    // A text beyond 4 GiB cannot be: payloads are limited to a few megabytes.
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Number(number) => match number.as_i64() {
            Some(small) => match i32::try_from(small) {
                Ok(small) => {
                    out.push(b'J');
                    out.extend_from_slice(&small.to_le_bytes());
                }
                Err(_) => {
                    out.extend_from_slice(&[0x8a, 8]);
                    out.extend_from_slice(&small.to_le_bytes());
                }
            },
            None => {
                out.push(b'G');
                out.extend_from_slice(&number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
            }
        },
        Value::String(one) => text(out, one),
        Value::Array(some) => {
            out.extend_from_slice(b"](");
            some.iter().for_each(|one| put(out, one));
            out.push(b'e');
        }
        Value::Object(some) => {
            out.extend_from_slice(b"}(");
            for (key, value) in some {
                text(out, key);
                put(out, value);
            }
            out.push(b'u');
        }
    }
}

/// What stands on the reader's stack.
#[derive(Debug, Clone)]
enum Item {
    /// A value, and how deep values are in it.
    Value(Value, usize),
    Mark,
}

/// Reads a plain value.
///
/// # Errors
/// It is damaged, or holds more than plain values.
pub fn read(bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader { bytes, at: 0, stack: Vec::new(), memo: Map::new() };
    reader.run()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Item>,
    memo: Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn bad<T>(&self, reason: &str) -> Result<T> {
        let reason = format!("{reason} at byte {} of its pickle", self.at);
        Err(Error::Payload { what: "a task's result", reason })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some(part) = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end)) else {
            return self.bad("it is cut short");
        };
        self.at += n;
        Ok(part)
    }

    /// An unsigned number of `n` bytes, little end first.
    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    fn length(&mut self, n: usize) -> Result<usize> {
        let length = self.number(n)?;
        usize::try_from(length).or_else(|_| self.bad("a length that cannot be"))
    }

    fn text(&mut self, n: usize) -> Result<Value> {
        let length = self.length(n)?;
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::String(text.to_owned())),
            Err(_) => self.bad("a text that is no UTF-8"),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.stack.push(Item::Value(value, 0));
        Ok(())
    }

    fn pop(&mut self) -> Result<(Value, usize)> {
        match self.stack.pop() {
            Some(Item::Value(value, depth)) => Ok((value, depth)),
            _ => self.bad("nothing where a value should be"),
        }
    }

    /// What stands above the last mark, and how deep it is.
    fn above_mark(&mut self) -> Result<(Vec<Value>, usize)> {
        let (mut values, mut deepest) = (Vec::new(), 0);
        loop {
            match self.stack.pop() {
                Some(Item::Value(value, depth)) => {
                    values.push(value);
                    deepest = depth.max(deepest);
                }
                Some(Item::Mark) => break,
                None => return self.bad("no mark"),
            }
        }
        values.reverse();
        Ok((values, deepest))
    }

    /// Notes that the value on top holds values of this depth. Values too deep would end the program when they
    /// are dropped.
    fn deepen(&mut self, inner: usize) -> Result<()> {
        if let Some(Item::Value(_, depth)) = self.stack.last_mut() {
            *depth = inner.saturating_add(1).max(*depth);
            if *depth > DEEPEST {
                return self.bad("values nested too deeply");
            }
        }
        Ok(())
    }

    fn extend(&mut self, values: Vec<Value>, inner: usize) -> Result<()> {
        match self.stack.last_mut() {
            Some(Item::Value(Value::Array(list), _)) => list.extend(values),
            _ => return self.bad("values without their list"),
        }
        self.deepen(inner)
    }

    fn insert(&mut self, values: Vec<Value>, inner: usize) -> Result<()> {
        let mut values = values.into_iter();
        while let (Some(key), value) = (values.next(), values.next()) {
            let key = match key {
                Value::String(key) => key,
                other => other.to_string(),
            };
            match (self.stack.last_mut(), value) {
                (Some(Item::Value(Value::Object(map), _)), Some(value)) => drop(map.insert(key, value)),
                _ => return self.bad("values without their dictionary"),
            }
        }
        self.deepen(inner)
    }

    fn remember(&mut self, key: String) -> Result<()> {
        let Some(Item::Value(value, _)) = self.stack.last() else { return self.bad("nothing to remember") };
        // Only texts are ever looked up again in plain values; a list that holds itself is none.
        let value = if value.is_string() { value.clone() } else { Value::Null };
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: &str) -> Result<()> {
        match self.memo.get(key).cloned() {
            Some(value @ Value::String(_)) => self.push(value),
            _ => self.bad("a reference to something that is no text"),
        }
    }

    fn tuple(&mut self, n: usize) -> Result<()> {
        let mut values = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        let inner = values.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
        self.push(Value::Array(values.into_iter().map(|(value, _)| value).collect()))?;
        self.deepen(inner)
    }

    fn run(&mut self) -> Result<Value> {
        loop {
            let code = self.take(1)?.first().copied().unwrap_or_default();
            match code {
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'N' => self.push(Value::Null)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'J' => {
                    let number = self.number(4)? as u32 as i32;
                    self.push(number.into())?;
                }
                b'K' => {
                    let number = self.number(1)?;
                    self.push(number.into())?;
                }
                b'M' => {
                    let number = self.number(2)?;
                    self.push(number.into())?;
                }
                0x8a => {
                    let n = self.length(1)?;
                    let bytes = self.take(n)?;
                    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
                    if n > 8 {
                        return self.bad("a number of more than 64 bits");
                    }
                    let mut whole = if negative { [0xff; 8] } else { [0; 8] };
                    whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    self.push(i64::from_le_bytes(whole).into())?;
                }
                b'G' => {
                    let number = f64::from_bits(self.number(8)?.swap_bytes());
                    self.push(Number::from_f64(number).map_or(Value::Null, Value::Number))?;
                }
                b'X' => {
                    let text = self.text(4)?;
                    self.push(text)?;
                }
                0x8c => {
                    let text = self.text(1)?;
                    self.push(text)?;
                }
                0x8d => {
                    let text = self.text(8)?;
                    self.push(text)?;
                }
                b']' | b')' => self.push(Value::Array(Vec::new()))?,
                b'}' => self.push(Value::Object(Map::new()))?,
                b'(' => self.stack.push(Item::Mark),
                b'a' => {
                    let (value, inner) = self.pop()?;
                    self.extend(vec![value], inner)?;
                }
                b'e' => {
                    let (values, inner) = self.above_mark()?;
                    self.extend(values, inner)?;
                }
                b's' => {
                    let ((value, inner), (key, _)) = (self.pop()?, self.pop()?);
                    self.insert(vec![key, value], inner)?;
                }
                b'u' => {
                    let (values, inner) = self.above_mark()?;
                    self.insert(values, inner)?;
                }
                b't' => {
                    let (values, inner) = self.above_mark()?;
                    self.push(Value::Array(values))?;
                    self.deepen(inner)?;
                }
                0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
                b'q' | b'r' => {
                    let key = self.number(if code == b'q' { 1 } else { 4 })?.to_string();
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len().to_string())?,
                b'h' | b'j' => {
                    let key = self.number(if code == b'h' { 1 } else { 4 })?.to_string();
                    self.recall(&key)?;
                }
                b'.' => return Ok(self.pop()?.0),
                _ => return self.bad("something that is no plain value"),
            }
            if self.stack.len() > 10_000_000 {
                return self.bad("too many values");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pickle_of_python_is_read() {
        // pickle.dumps({"rc": 0, "out": ["µ", -1, 70000, 2.5, None, True, (1, 2)], "rc2": 2**40}, protocol=4)
        let bytes = b"\x80\x04\x95G\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x02rc\x94K\x00\x8c\x03out\x94]\x94(\x8c\x02\xc2\xb5\x94J\xff\xff\xff\xffJp\x11\x01\x00G@\x04\x00\x00\x00\x00\x00\x00N\x88K\x01K\x02\x86\x94e\x8c\x03rc2\x94\x8a\x06\x00\x00\x00\x00\x00\x01u.";
        let expected = json!({"rc": 0, "out": ["µ", -1, 70000, 2.5, null, true, [1, 2]], "rc2": 1_u64 << 40});
        assert_eq!(read(bytes).unwrap(), expected);
        // Cut anywhere it is an error and nothing worse.
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn objects_are_not_built() {
        // os.system by GLOBAL and REDUCE.
        let error = read(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.").unwrap_err().to_string();
        assert!(error.contains("no plain value"), "{error}");
        assert!(
            read(&[b"\x80\x02".as_slice(), &b"]".repeat(300), &b"a".repeat(299), b"."].concat()).is_err()
        );
        assert!(read(&[b"\x80\x02)".as_slice(), &b"\x85".repeat(1_000_000), b"."].concat()).is_err());
        assert!(read(b"a.").is_err() && read(b"(e.").is_err() && read(b"]h\x00.").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for value in [json!(null), json!([]), json!({"a": [1, 1_i64 << 40, -5, 0.25, "µ𝄞", {"b": false}]})]
        {
            assert_eq!(read(&write(&value)).unwrap(), value);
        }
    }
}
