//! The value of a setting: part of a file, or the text of a variable, read as what is asked for.

use std::fmt::Display;

use serde::{
    Deserialize, Deserializer, de,
    de::{
        IntoDeserializer, Visitor,
        value::{SeqDeserializer, StringDeserializer},
    },
    forward_to_deserialize_any,
};
use toml::{Table, Value, de::Error};

/// The value of a setting.
pub enum Setting {
    Toml(Value),
    /// The text of a variable: as it is where text is asked for, with commas between the items of a
    /// list of texts, and otherwise as TOML writes the value.
    Text(String),
}

impl<'de> IntoDeserializer<'de, Error> for Setting {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Hands a value of the file on as it is, and has the text of a variable read by `$read`.
macro_rules! read {
    ($($method:ident($($name:ident: $type:ty),*) by $read:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Error> {
            match self {
                Self::Toml(value) => value.$method($($name,)* visitor),
                Self::Text(text) => {
                    let read: fn(String, V) -> Result<V::Value, Error> = $read;
                    read(text, visitor)
                }
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Setting {
    type Error = Error;

    read! {
        deserialize_any() by |text, visitor| visitor.visit_string(text);
        deserialize_bool() by |text, visitor| {
            visitor.visit_bool(parsed(&text, "true or false")?)
        };
        deserialize_u32() by |text, visitor| {
            visitor.visit_u32(parsed(&text, "a whole number")?)
        };
        deserialize_u64() by |text, visitor| {
            visitor.visit_u64(parsed(&text, "a whole number")?)
        };
        deserialize_f64() by |text, visitor| visitor.visit_f64(parsed(&text, "a number")?);
        deserialize_option() by |text, visitor| visitor.visit_some(Self::Text(text));
        deserialize_seq() by |text, visitor| match text.trim_start().starts_with('[') {
            true => toml(&text)?.deserialize_seq(visitor),
            false => {
                let items = text.split(',').map(|item| item.trim().to_owned());
                let items: Vec<String> = items.filter(|item| !item.is_empty()).collect();
                SeqDeserializer::new(items.into_iter()).deserialize_seq(visitor)
            }
        };
        deserialize_map() by |text, visitor| toml(&text)?.deserialize_map(visitor);
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
            by |text, visitor| toml(&text)?.deserialize_map(visitor);
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
            by |text, visitor| {
                let word: StringDeserializer<Error> = text.trim().to_owned().into_deserializer();
                visitor.visit_enum(word)
            };
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

fn parsed<T: std::str::FromStr>(text: &str, what: impl Display) -> Result<T, Error> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| de::Error::custom(format!("must be {what}")))
}

/// Reads a value as TOML writes it, such as `{ connections = 100 }`.
fn toml(text: &str) -> Result<Value, Error> {
    let table: Option<Table> = format!("value = {text}").parse().ok();
    let mut table = table.filter(|table| table.len() == 1);
    let value = table.as_mut().and_then(|table| table.remove("value"));
    value.ok_or_else(|| {
        de::Error::custom("must be a value as TOML writes it, such as [\"a\", \"b\"] or { a = 1 }")
    })
}

/// The names of the fields of a struct, as it asks for them.
pub fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(de::Error::custom("only its fields are asked for"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut fields: &[&str] = &[];
    let _ = T::deserialize(Fields(&mut fields));
    fields
}
