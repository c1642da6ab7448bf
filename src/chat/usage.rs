//! Token counts over several turns.

use serde_json::{Map, Number, Value};

/// The sum of `usage` objects, member by member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage(Map<String, Value>);

impl Usage {
    /// The sum of these; the first is moved, and with one there is nothing to add.
    pub(crate) fn sum(usages: impl IntoIterator<Item = Map<String, Value>>) -> Self {
        let mut usages = usages.into_iter();
        let mut sum = Self(usages.next().unwrap_or_default());
        usages.for_each(|usage| sum.add(&usage));
        sum
    }

    /// Adds every numeric member of `usage`, nested ones too; of anything else the newest stays.
    pub(crate) fn add(&mut self, usage: &Map<String, Value>) {
        add_members(&mut self.0, usage);
    }

    /// Adds this to the cost; where it is not known what else there was, there is none.
    pub(crate) fn add_cost(&mut self, cost: f64, is_rest_known: bool) {
        match (self.0.get("cost").and_then(Value::as_f64), is_rest_known) {
            (known, true) => {
                let sum = tidy(known.unwrap_or_default() + cost);
                self.0.insert("cost".into(), sum.into());
            }
            (_, false) => {
                self.0.remove("cost");
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The members of the sum.
    pub(crate) fn members(self) -> Map<String, Value> {
        self.0
    }

    pub(crate) fn to_json(&self) -> String {
        // Writing JSON values with string keys does not fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// A number of tokens, which some services write as `12.0`; `None` for what is no number.
pub(crate) fn tokens(count: &Value) -> Option<u64> {
    // Saturates, and is 0 for what is below.
    let rounded = || count.as_f64().map(|count| count as u64);
    count.as_u64().or_else(rounded)
}

fn add_members(sum: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        match (sum.get_mut(name), value) {
            (Some(Value::Number(sum)), Value::Number(more)) => *sum = add_numbers(sum, more),
            (Some(Value::Object(sum)), Value::Object(more)) => add_members(sum, more),
            // A round that says nothing takes nothing away.
            (Some(_), Value::Null) => {}
            _ => {
                sum.insert(name.clone(), value.clone());
            }
        }
    }
}

fn add_numbers(a: &Number, b: &Number) -> Number {
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return a.saturating_add(b).into();
    }
    let sum = a.as_f64().unwrap_or(0.0) + b.as_f64().unwrap_or(0.0);
    Number::from_f64(tidy(sum)).unwrap_or_else(|| 0.into())
}

/// Rounds `value` to twelve significant digits, so that a sum of costs does not end in `…0000004`.
pub(crate) fn tidy(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sum(rounds: &[Value]) -> Value {
        let mut usage = Usage::default();
        for round in rounds {
            usage.add(round.as_object().unwrap());
        }
        serde_json::from_str(&usage.to_json()).unwrap()
    }

    #[test]
    fn every_numeric_member_is_summed_nested_ones_too() {
        let rounds = [
            json!({"prompt_tokens": 323, "cost": 0.1, "prompt_tokens_details": {"cached_tokens": 1}, "tier": "a"}),
            json!({"prompt_tokens": 2354, "cost": 0.2, "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 4}, "tier": "b"}),
        ];
        assert_eq!(
            sum(&rounds),
            json!({"prompt_tokens": 2677, "cost": 0.3, "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 4}, "tier": "b"})
        );
    }

    #[test]
    fn null_takes_nothing_away_and_gives_way_to_numbers() {
        assert_eq!(
            sum(&[json!({"a": 1, "b": null}), json!({"a": null, "b": 2})]),
            json!({"a": 1, "b": 2})
        );
    }

    #[test]
    fn tokens_count_however_their_number_is_written() {
        for (count, expected) in [
            (json!(12), Some(12)),
            (json!(12.0), Some(12)),
            (json!(1.2e1), Some(12)),
            (json!(1e300), Some(u64::MAX)),
            (json!(-1), Some(0)),
            (json!("12"), None),
            (json!(null), None),
        ] {
            assert_eq!(tokens(&count), expected, "{count}");
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        assert_eq!(
            sum(&[json!({"a": u64::MAX}), json!({"a": 1})]),
            json!({"a": u64::MAX})
        );
    }
}
