//! What a list says of an exchange without its steps, and the text by which it is found.

use super::{
    exchange::Trace, log::Fact, measure::Measure, outcome::CallOutcome, step::Step, steps::Steps,
};

/// The most tools that a summary names: a title has room for few, and a filter for a name looks at
/// the calls themselves.
const TOOLS: usize = 32;

/// The most text that an exchange is found by, in bytes: the names and ids of some hundred calls.
const TEXT: usize = 8 << 10;

/// What stands between two names, so that nothing is found across them.
const SEPARATOR: char = '\u{1f}';

impl Trace {
    /// Sets what is summed up of the steps: failed calls, tools, their servers, and the refusal.
    pub(crate) fn sum_up(&mut self) {
        let (mut tools, mut called, mut failed) = (Vec::<String>::new(), Vec::<String>::new(), 0);
        let add = |names: &mut Vec<String>, name: &str| {
            if names.len() < TOOLS && !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        };
        self.measure(|measure| match measure {
            Measure::Call {
                outcome: CallOutcome::NotExecuted,
                ..
            } => {}
            Measure::Call {
                server,
                tool,
                outcome,
                ..
            } => {
                failed += u64::from(outcome == CallOutcome::Error);
                add(&mut tools, tool);
                add(&mut called, server);
            }
            Measure::Turn { .. } | Measure::Guard { .. } => {}
        });
        (self.tools, self.called, self.failed_calls) = (tools, called, failed);
        self.refusal = self.refused();
    }

    /// The message of the refusal among the steps.
    fn refused(&self) -> Option<String> {
        let message = |step: &Step| match step {
            Step::Refusal(refusal) => Some(refusal.message.clone()),
            _ => None,
        };
        match &self.steps {
            Steps::Log(log) => log.facts().find_map(|fact| match fact {
                Fact::Built(step) => message(&step),
                Fact::Turn(_) | Fact::Call(_) => None,
            }),
            Steps::Built(steps) => steps.iter().find_map(message),
        }
    }

    /// The text by which the exchange is found, in lower case: its id, model and servers, and the
    /// names and ids of its calls, as many as fit into 8 KiB.
    pub(crate) fn search_text(&self) -> String {
        let mut text = self.id.to_string();
        let mut add = |name: &str| {
            if !name.is_empty() && text.len() + name.len() < TEXT {
                text.push(SEPARATOR);
                text.push_str(name);
            }
        };
        self.model.iter().for_each(|model| add(model));
        self.servers.iter().for_each(|server| add(server));
        match &self.steps {
            Steps::Log(log) => {
                for fact in log.facts() {
                    if let Fact::Call(call) = fact {
                        add(call.name);
                        call.tool.iter().flatten().for_each(|name| add(name));
                        add(call.id);
                    }
                }
            }
            Steps::Built(steps) => {
                for step in steps {
                    if let Step::Call(call) = step {
                        add(&call.name);
                        [&call.server, &call.tool]
                            .into_iter()
                            .flatten()
                            .for_each(|name| add(name));
                        add(&call.id);
                    }
                }
            }
        }
        text.to_lowercase()
    }
}
