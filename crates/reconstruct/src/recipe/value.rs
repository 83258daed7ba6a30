//! Values of parameters: what the table, a TOML file, `--set` and the reports exchange.

use serde::{Serialize, Serializer};

/// The value of one parameter, independent of where it was written down.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Left to the program (an optional parameter that is not set).
    Auto,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Text: also the name of a choice.
    Text(String),
    /// A list of numbers.
    Numbers(Vec<f64>),
}

impl std::fmt::Display for Value {
    /// Writes the value as TOML (and `--set`) would have it; [`Value::Auto`] is the text `"auto"`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => write!(f, "\"auto\""),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => {
                write!(f, "\"")?;
                for letter in text.chars() {
                    match letter {
                        '"' | '\\' => write!(f, "\\{letter}")?,
                        control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                        other => write!(f, "{other}")?,
                    }
                }
                write!(f, "\"")
            }
            Self::Numbers(numbers) => {
                let parts: Vec<String> = numbers.iter().map(|number| format!("{number:?}")).collect();
                write!(f, "[{}]", parts.join(", "))
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Numbers(numbers) => numbers.serialize(serializer),
        }
    }
}

/// One name that a choice accepts, with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// As written in a recipe.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A finite number.
    Number,
    /// A whole number, not negative.
    Integer,
    /// `true` or `false`.
    Flag,
    /// One of these names.
    Choice(&'static [Choice]),
    /// Text of a fixed form; the string says which.
    Text(&'static str),
    /// A list of finite numbers.
    Numbers,
    /// Two finite numbers.
    Pair,
    /// As the inner kind, or `"auto"`.
    Optional(&'static Kind),
}

impl Kind {
    /// The kind without its "or auto".
    pub fn inner(self) -> Self {
        match self {
            Self::Optional(inner) => inner.inner(),
            other => other,
        }
    }

    /// Whether `"auto"` is accepted.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Optional(_))
    }

    /// The names accepted, for a choice.
    pub fn choices(self) -> &'static [Choice] {
        match self.inner() {
            Self::Choice(choices) => choices,
            _ => &[],
        }
    }

    /// The kind in words, for help and error messages.
    pub fn words(self) -> String {
        match self {
            Self::Number => "a number".into(),
            Self::Integer => "a whole number".into(),
            Self::Flag => "true or false".into(),
            Self::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|choice| choice.name).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Text(form) => form.into(),
            Self::Numbers => "a list of numbers".into(),
            Self::Pair => "two numbers".into(),
            Self::Optional(inner) => format!("{}, or auto", inner.words()),
        }
    }

    /// Reads the text of `--set key=text`.
    ///
    /// Lists may be written `1,2,3` or `[1, 2, 3]`; text may be quoted. `None` when the text does not
    /// have the form of this kind.
    pub fn read_text(self, text: &str) -> Option<Value> {
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        match self {
            Self::Optional(_) if bare == "auto" => Some(Value::Auto),
            Self::Optional(inner) => inner.read_text(text),
            Self::Number => text.parse().ok().map(Value::Number),
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Flag => text.parse().ok().map(Value::Flag),
            Self::Choice(_) | Self::Text(_) => Some(Value::Text(bare.to_owned())),
            Self::Numbers | Self::Pair => {
                let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
                if list.trim().is_empty() {
                    return Some(Value::Numbers(Vec::new()));
                }
                let numbers: Result<Vec<f64>, _> = list.split(',').map(|part| part.trim().parse()).collect();
                numbers.ok().map(Value::Numbers)
            }
        }
    }
}

/// What a number (each number of a list) must satisfy beyond its kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Any finite number.
    Any,
    /// Between the two, ends included.
    Within(f64, f64),
    /// Greater than the first, at most the second.
    Above(f64, f64),
    /// Odd, between the two, ends included.
    Odd(f64, f64),
    /// One of these.
    OneOf(&'static [f64]),
}

impl Limits {
    /// Whether `number` satisfies the limits. NaN and infinities never do.
    pub fn allow(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Self::Any => true,
                Self::Within(low, high) => (low..=high).contains(&number),
                Self::Above(low, high) => number > low && number <= high,
                Self::Odd(low, high) => (low..=high).contains(&number) && number % 2.0 == 1.0,
                Self::OneOf(numbers) => numbers.contains(&number),
            }
    }

    /// The limits in words; empty when there are none.
    pub fn words(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Within(low, high) => format!("{low} to {high}"),
            Self::Above(low, high) => format!("greater than {low}, at most {high}"),
            Self::Odd(low, high) => format!("odd, {low} to {high}"),
            Self::OneOf(numbers) => {
                let parts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                parts.join(", ")
            }
        }
    }
}

/// A Rust type that a parameter may have.
///
/// Implemented here for plain types and by the `choices!` macro for enumerations, so that the table of
/// parameters needs to name only the type.
pub trait Setting: Sized {
    /// How the type is described and read.
    const KIND: Kind;
    /// The value as the table exchanges it.
    fn to_value(&self) -> Value;
    /// `None` when the value is not of this kind.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Setting for f64 {
    const KIND: Kind = Kind::Number;
    fn to_value(&self) -> Value {
        Value::Number(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(*number),
            // `angle_deg = 1` is as good as `1.0`.
            Value::Integer(number) => Some(*number as Self),
            _ => None,
        }
    }
}

impl Setting for usize {
    const KIND: Kind = Kind::Integer;
    fn to_value(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::Flag;
    fn to_value(&self) -> Value {
        Value::Flag(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }
}

/// Longest list of numbers that a recipe may hold; more is a mistake in the file.
const LONGEST_LIST: usize = 64;

impl Setting for Vec<f64> {
    const KIND: Kind = Kind::Numbers;
    fn to_value(&self) -> Value {
        Value::Numbers(self.clone())
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Numbers(numbers) if numbers.len() <= LONGEST_LIST => Some(numbers.clone()),
            _ => None,
        }
    }
}

impl Setting for (f64, f64) {
    const KIND: Kind = Kind::Pair;
    fn to_value(&self) -> Value {
        Value::Numbers(vec![self.0, self.1])
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Numbers(numbers) => match numbers[..] {
                [first, second] => Some((first, second)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = Kind::Optional(&T::KIND);
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Auto, Setting::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Auto => Some(None),
            Value::Text(text) if text == "auto" => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}
