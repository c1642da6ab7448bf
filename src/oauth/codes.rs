//! The error codes that are known: what each means, and who says so.
//!
//! Only these are ever repeated to callers; other text of a provider is for the operator alone.

use super::error::{
    Error,
    ErrorKind::{
        self, InvalidClient, InvalidGrant, InvalidScope, InvalidTarget, Refused, Unreachable,
    },
};

/// Code, meaning.
const KNOWN: [(&str, ErrorKind); 30] = [
    // RFC 6749 sections 4.1.2.1 and 5.2.
    ("access_denied", Refused),
    ("invalid_client", InvalidClient),
    ("invalid_grant", InvalidGrant),
    ("invalid_request", Refused),
    ("invalid_scope", InvalidScope),
    ("server_error", Unreachable),
    ("temporarily_unavailable", Unreachable),
    ("unauthorized_client", Refused),
    ("unsupported_grant_type", Refused),
    ("unsupported_response_type", Refused),
    // RFC 7009 section 2.2.1.
    ("unsupported_token_type", Refused),
    // RFC 7591 section 3.2.2.
    ("invalid_client_metadata", Refused),
    ("invalid_redirect_uri", Refused),
    ("invalid_software_statement", Refused),
    ("unapproved_software_statement", Refused),
    // RFC 8707 section 2.
    ("invalid_target", InvalidTarget),
    // RFC 6750 section 3.1; Keycloak's registration policies (keycloak/keycloak#39629).
    ("insufficient_scope", Refused),
    // OpenID Connect Core section 3.1.2.6.
    ("account_selection_required", Refused),
    ("consent_required", Refused),
    ("interaction_required", Refused),
    ("login_required", Refused),
    // GitHub's own words for the same (lelylan/simple-oauth2#459).
    ("application_suspended", Refused),
    ("bad_refresh_token", InvalidGrant),
    ("bad_verification_code", InvalidGrant),
    ("incorrect_client_credentials", InvalidClient),
    ("redirect_uri_mismatch", Refused),
    ("unverified_user_email", Refused),
    // Supabase's (supabase/auth#2829).
    ("refresh_token_already_used", InvalidGrant),
    ("refresh_token_not_found", InvalidGrant),
    // Registration that is switched off, as WorkOS says it (marselsel/Lexware-MCP-Server#36).
    ("dynamic_client_registration_disabled", Refused),
];

/// Numbers of Entra ID in a description whose code says less: both refuse the parameter `resource`
/// (modelcontextprotocol/csharp-sdk#648, punkpeye/mcp-remote#217).
const ABOUT_THE_RESOURCE: [&str; 2] = ["AADSTS901002", "AADSTS9010010"];

/// Creates the error for an error code in an answer of `who`.
pub(super) fn coded(who: &str, code: &str) -> Error {
    match known(code) {
        Some((code, kind)) => Error::new(kind, format!("{who} says {code}")),
        None => {
            let text = format!("{who} refuses, with an error code that is not known");
            Error::new(Refused, text)
        }
    }
}

/// Returns a known code, which may be shown, and its meaning.
pub(super) fn known(code: &str) -> Option<(&'static str, ErrorKind)> {
    KNOWN.into_iter().find(|(known, _)| *known == code)
}

/// Returns true if a description is known to refuse the parameter `resource`.
pub(super) fn refuses_resource(description: &str) -> bool {
    let mut numbers = description.split(|letter: char| !letter.is_ascii_alphanumeric());
    numbers.any(|number| ABOUT_THE_RESOURCE.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_codes_are_shown() {
        let known = coded("the token endpoint", "invalid_grant");
        assert_eq!(known.kind(), ErrorKind::InvalidGrant);
        assert_eq!(known.to_string(), "the token endpoint says invalid_grant");
        let unknown = coded("the token endpoint", "<script>alert(1)</script>");
        assert_eq!(unknown.kind(), ErrorKind::Refused);
        assert!(!format!("{unknown} {unknown:?}").contains("script"));
    }
}
