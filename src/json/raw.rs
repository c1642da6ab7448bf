//! JSON within other JSON, not copied where that is written: for serde's `with`.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::value::RawValue;

pub(crate) fn serialize<S: Serializer>(json: &Bytes, to: S) -> Result<S::Ok, S::Error> {
    of(json)?.serialize(to)
}

pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Bytes, D::Error> {
    Box::<RawValue>::deserialize(from).map(bytes)
}

fn of<E: ser::Error>(json: &Bytes) -> Result<&RawValue, E> {
    serde_json::from_slice(json).map_err(E::custom)
}

fn bytes(json: Box<RawValue>) -> Bytes {
    Box::<str>::from(json).into_string().into()
}

/// Lists of such texts.
pub(crate) mod list {
    use super::{Bytes, Deserialize, Deserializer, RawValue, Serializer, bytes, of};

    pub(crate) fn serialize<S: Serializer>(list: &[Bytes], to: S) -> Result<S::Ok, S::Error> {
        let list = list.iter().map(of).collect::<Result<Vec<_>, S::Error>>()?;
        to.collect_seq(list)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<Bytes>, D::Error> {
        let list = Vec::<Box<RawValue>>::deserialize(from)?;
        Ok(list.into_iter().map(bytes).collect())
    }
}
