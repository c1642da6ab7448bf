//! Operators by name, each with a token and a role.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use secrecy::SecretString;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{
    role::Role,
    token::{InvalidToken, Token},
};

/// The name of whoever has the token of [`Admin::new`](super::Admin::new).
pub(super) const ADMIN: &str = "admin";
/// The most operators: each is compared with for every request.
const OPERATORS: usize = 1000;
/// The longest name, in bytes.
const NAME: usize = 64;

/// A person or a program that operates this gateway, with a token of its own. Equal are those of the
/// same name, token and role.
#[derive(Clone, PartialEq, Eq)]
pub struct Operator {
    name: Arc<str>,
    token: Token,
    role: Role,
}

impl Operator {
    /// Creates an operator with a token like that of [`Admin::new`](super::Admin::new); only its
    /// hash stays in memory.
    ///
    /// # Errors
    /// [`InvalidOperator`] for a name that is none, and for such a token.
    pub fn new(
        name: impl Into<Arc<str>>,
        token: &SecretString,
        role: Role,
    ) -> Result<Self, InvalidOperator> {
        let token = Token::new(token).map_err(InvalidOperator::Token)?;
        Self::with(name.into(), token, role)
    }

    /// Creates an operator of whose token only the SHA-256 is known. That the token cannot be
    /// guessed is up to whoever made it.
    ///
    /// # Errors
    /// [`InvalidOperator`] for a name that is none.
    pub fn with_token_sha256(
        name: impl Into<Arc<str>>,
        sha256: [u8; 32],
        role: Role,
    ) -> Result<Self, InvalidOperator> {
        Self::with(name.into(), Token::of_sha256(sha256), role)
    }

    fn with(name: Arc<str>, token: Token, role: Role) -> Result<Self, InvalidOperator> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if name.is_empty() || name.len() > NAME || !name.bytes().all(is_letter) {
            return Err(InvalidOperator::Name);
        }
        if &*name == ADMIN {
            return Err(InvalidOperator::Taken);
        }
        Ok(Self { name, token, role })
    }

    /// The operator who has the one token.
    pub(super) fn admin(token: Token) -> Self {
        Self {
            name: ADMIN.into(),
            token,
            role: Role::Admin,
        }
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// A mark that changes with the token and does not reveal it.
    pub(super) fn mark(&self) -> String {
        self.token.mark()
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Operators by name, which can change while the gateway runs. Clones are the same list.
///
/// Whoever is not in it any more, or has another token, is signed out by the next request; another
/// role is in force with it.
///
/// ```
/// use mcp_layer::admin::{Operator, Operators, Role};
///
/// let token = "a-token-of-many-random-characters".into();
/// let operators = Operators::new([Operator::new("ann", &token, Role::Viewer)?])?;
/// operators.replace([Operator::new("ann", &token, Role::Editor)?])?;
/// # Ok::<(), mcp_layer::admin::InvalidOperator>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Operators(Arc<RwLock<Arc<[Operator]>>>);

impl Operators {
    /// Creates a list of these operators.
    ///
    /// # Errors
    /// [`InvalidOperator`] if two have one name or one token, or there are more than 1,000.
    pub fn new(operators: impl IntoIterator<Item = Operator>) -> Result<Self, InvalidOperator> {
        let list = Self::default();
        list.replace(operators).map(|()| list)
    }

    /// Replaces all of them, or none if there is an error.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn replace(
        &self,
        operators: impl IntoIterator<Item = Operator>,
    ) -> Result<(), InvalidOperator> {
        let operators: Vec<_> = operators.into_iter().take(OPERATORS + 1).collect();
        if operators.len() > OPERATORS {
            return Err(InvalidOperator::TooMany);
        }
        for (place, operator) in operators.iter().enumerate() {
            let is_same = |other: &Operator| {
                other.name == operator.name || other.token.digest() == operator.token.digest()
            };
            if let Some(other) = operators[..place].iter().find(|other| is_same(other)) {
                return Err(InvalidOperator::Twice {
                    names: [other.name.to_string(), operator.name.to_string()],
                });
            }
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = operators.into();
        Ok(())
    }

    fn now(&self) -> Arc<[Operator]> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// All operators who have tokens: those of the list, and the one with the token of
/// [`Admin::new`](super::Admin::new).
#[derive(Clone)]
pub(super) struct Roster {
    admin: Operator,
    others: Operators,
}

impl Roster {
    pub(super) fn new(admin: Operator, others: Operators) -> Self {
        Self { admin, others }
    }

    pub(super) fn all(&self) -> Vec<Operator> {
        let others = self.others.now();
        let all = [&self.admin].into_iter().chain(others.iter());
        all.cloned().collect()
    }

    /// The operator whose token this is. All tokens are compared whole, so the time tells neither
    /// whose it nearly is nor how far down the list.
    pub(super) fn with_token(&self, given: &[u8]) -> Option<Operator> {
        let given = Token::digest_of(given);
        let all = self.all();
        let mut found = u32::MAX;
        for (place, operator) in (0..).zip(&all) {
            let is: Choice = operator.token.digest().ct_eq(&given);
            found.conditional_assign(&place, is);
        }
        all.get(usize::try_from(found).ok()?).cloned()
    }

    /// The operator of this name, if the token is still the one with this mark.
    pub(super) fn with_mark(&self, name: &str, mark: &str) -> Option<Operator> {
        let mut all = self.all().into_iter();
        let named = all.find(|operator| &*operator.name == name)?;
        let is_same: bool = named.mark().as_bytes().ct_eq(mark.as_bytes()).into();
        is_same.then_some(named)
    }
}

/// The reason why somebody cannot be an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidOperator {
    /// The name is empty, longer than 64 characters, or has others than ASCII letters, digits and
    /// `.`, `_`, `@`, `-`.
    Name,
    /// The name is `admin`, which is that of whoever has the one token.
    Taken,
    /// The token could be guessed, or cannot be sent.
    Token(InvalidToken),
    /// Two operators have the same name or the same token.
    Twice {
        /// Their names.
        names: [String; 2],
    },
    /// There are more than 1,000.
    TooMany,
}

impl fmt::Display for InvalidOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "a name has 1 to {NAME} ASCII letters, digits and . _ @ -"
            ),
            Self::Taken => f.write_str("the name admin is that of the holder of the admin token"),
            Self::Token(error) => error.fmt(f),
            Self::Twice {
                names: [one, other],
            } if one == other => {
                write!(f, "two operators have the name {one}")
            }
            Self::Twice {
                names: [one, other],
            } => {
                write!(f, "{one} and {other} have the same token")
            }
            Self::TooMany => write!(f, "there are more than {OPERATORS} operators"),
        }
    }
}

impl std::error::Error for InvalidOperator {}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, token: &str) -> Operator {
        Operator::new(name, &token.into(), Role::Viewer).unwrap()
    }

    fn roster(others: Operators) -> Roster {
        let token = Token::new(&"token-of-the-admin".into()).unwrap();
        Roster::new(Operator::admin(token), others)
    }

    #[test]
    fn each_token_is_that_of_one_operator() {
        let others = [
            operator("ann", "token-of-ann-----"),
            operator("bob", "token-of-bob-----"),
        ];
        let roster = roster(Operators::new(others).unwrap());
        let who = |token: &str| roster.with_token(token.as_bytes()).map(|who| who.name);
        assert_eq!(who("token-of-the-admin").as_deref(), Some("admin"));
        assert_eq!(who("token-of-ann-----").as_deref(), Some("ann"));
        assert_eq!(who("token-of-bob-----").as_deref(), Some("bob"));
        assert_eq!(who("token-of-bob----"), None);
        assert_eq!(who(""), None);
    }

    #[test]
    fn whoever_is_replaced_is_nobody() {
        let others = Operators::new([operator("ann", "token-of-ann-----")]).unwrap();
        let roster = roster(others.clone());
        let ann = roster.with_token(b"token-of-ann-----").unwrap();
        assert!(roster.with_mark("ann", &ann.mark()).is_some());
        assert!(roster.with_mark("admin", &ann.mark()).is_none());
        others
            .replace([operator("ann", "another-token-of-ann")])
            .unwrap();
        assert!(roster.with_mark("ann", &ann.mark()).is_none());
        assert!(roster.with_token(b"token-of-ann-----").is_none());
    }

    #[test]
    fn who_cannot_be_told_from_others_is_refused() {
        let token = "token-of-ann-----".into();
        for (name, fault) in [
            ("", InvalidOperator::Name),
            ("a b", InvalidOperator::Name),
            ("oidc:ann", InvalidOperator::Name),
            ("<b>", InvalidOperator::Name),
            ("é", InvalidOperator::Name),
            (&"x".repeat(65), InvalidOperator::Name),
            ("admin", InvalidOperator::Taken),
        ] {
            let refused = Operator::new(name, &token, Role::Viewer).unwrap_err();
            assert_eq!(refused, fault, "{name}");
        }
        for other in ["ann", "bob"] {
            let pair = [
                operator("ann", "token-of-ann-----"),
                operator(other, "token-of-ann-----"),
            ];
            let names = ["ann", other].map(str::to_owned);
            assert_eq!(
                Operators::new(pair).unwrap_err(),
                InvalidOperator::Twice { names }
            );
        }
    }
}
