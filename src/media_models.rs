//! The models that take images and recordings.

use std::fmt;

use crate::pattern::fits;

/// Knows which models take images and recordings beside text.
///
/// A model that takes them is shown those of tool results; any other gets notes about them. `model` is
/// the name that its service is asked for. It is asked for each request that
/// runs tools, so it answers from memory.
///
/// ```
/// use mcp_layer::{McpLayer, MediaModels, registry::MemoryRegistry};
///
/// #[derive(Debug)]
/// struct Every;
///
/// impl MediaModels for Every {
///     fn takes_images(&self, _: &str) -> bool {
///         true
///     }
/// }
///
/// let layer = McpLayer::new(MemoryRegistry::default()).with_media_models(Every);
/// ```
pub trait MediaModels: fmt::Debug + Send + Sync + 'static {
    /// Returns `true` if `model` takes parts of the type `image_url`, with PNG, JPEG, GIF and WebP in
    /// `data:` URIs, in a user's message that follows a tool's.
    fn takes_images(&self, model: &str) -> bool;

    /// Returns `true` if `model` takes parts of the type `input_audio` there, with WAV and MP3. By
    /// default none does.
    fn takes_audio(&self, model: &str) -> bool {
        let _ = model;
        false
    }

    /// Returns `true` if `model` takes images where a request has it by the name `alias`. By default as
    /// it does otherwise.
    fn alias_takes_images(&self, alias: &str, model: &str) -> bool {
        let _ = alias;
        self.takes_images(model)
    }

    /// Returns `true` if `model` takes recordings where a request has it by the name `alias`. By default
    /// as it does otherwise.
    fn alias_takes_audio(&self, alias: &str, model: &str) -> bool {
        let _ = alias;
        self.takes_audio(model)
    }
}

/// Models by patterns, in which `*` matches any text, over a list of known ones.
///
/// [`Default`] has the list of known ones, which follows their makers' documentation of November 2026;
/// the names of these count without what providers and gateways put before the last `/`, without
/// regions and makers before a dot (`us.anthropic.`), and in any case of letters. Patterns that are
/// added count for both names of a model that is asked for by an alias, and those of text only go
/// before all others.
///
/// ```
/// use mcp_layer::{MediaModels, MediaPatterns};
///
/// let models = MediaPatterns::default()
///     .with_images(["my-vision-*"])
///     .with_text_only(["gpt-4o-mini"]);
/// assert!(models.takes_images("openai/gpt-4o") && models.takes_images("my-vision-2"));
/// assert!(!models.takes_images("gpt-4o-mini") && !models.takes_audio("gpt-4o"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPatterns {
    images: Vec<String>,
    audio: Vec<String>,
    text_only: Vec<String>,
    knows: bool,
}

impl MediaPatterns {
    /// No models at all, not even the known ones.
    pub fn none() -> Self {
        Self {
            images: Vec::new(),
            audio: Vec::new(),
            text_only: Vec::new(),
            knows: false,
        }
    }

    /// Adds models that take images.
    #[must_use]
    pub fn with_images<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.images.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Adds models that take recordings.
    #[must_use]
    pub fn with_audio<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.audio.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Adds models that take neither, whatever else is said of them.
    #[must_use]
    pub fn with_text_only<P: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Self {
        self.text_only.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Whether a model with these names takes something; the last one is its own.
    fn takes(&self, names: &[&str], added: &[String], known: &Known) -> bool {
        let is_one = |pattern: &String| names.iter().any(|name| fits(pattern, name));
        let is_in = |patterns: &[String]| patterns.iter().any(is_one);
        // What callers call a model says nothing of it.
        let is_known = || self.knows && names.last().is_some_and(|model| known.has(model));
        !is_in(&self.text_only) && (is_in(added) || is_known())
    }
}

impl Default for MediaPatterns {
    fn default() -> Self {
        Self {
            knows: true,
            ..Self::none()
        }
    }
}

impl MediaModels for MediaPatterns {
    fn takes_images(&self, model: &str) -> bool {
        self.takes(&[model], &self.images, &IMAGES)
    }

    fn takes_audio(&self, model: &str) -> bool {
        self.takes(&[model], &self.audio, &AUDIO)
    }

    fn alias_takes_images(&self, alias: &str, model: &str) -> bool {
        self.takes(&[alias, model], &self.images, &IMAGES)
    }

    fn alias_takes_audio(&self, alias: &str, model: &str) -> bool {
        self.takes(&[alias, model], &self.audio, &AUDIO)
    }
}

/// A list of known models.
struct Known {
    /// Patterns of names.
    takes: &'static [&'static str],
    /// What of these does not.
    but: &'static [&'static str],
}

/// The models that take images, as their makers' documentation, or else gateways' lists, had it in
/// November 2026; each group names its pages. A name that is missing costs an image; one that is wrong costs each project two
/// turns an hour that are asked for twice. Where a whole family takes them, later names of it count as well.
///
/// Mistral's models are left out on purpose: most take images (docs.mistral.ai, "Vision"), but no
/// user's message behind a tool's (mistralai/mistral-common#169, NousResearch/hermes-agent#20154).
const IMAGES: Known = Known {
    takes: &[
        // OpenAI: developers.openai.com/api/docs/models, "All latest OpenAI models support text and
        // image input"; earlier ones by their own pages.
        "gpt-4o*",
        "chatgpt-4o*",
        "gpt-4.1*",
        "gpt-4.5*",
        "gpt-4-turbo*",
        "ft:gpt-4o*",
        "ft:gpt-4.1*",
        "gpt-5*",
        "gpt-6*",
        "gpt-chat-latest",
        "chat-latest",
        "o1",
        "o1-20*",
        "o1-pro*",
        "o3",
        "o3-20*",
        "o3-pro*",
        "o4-mini*",
        // Anthropic: platform.claude.com/docs, "Models overview": "All current models support text and
        // image input"; from version 3 on.
        "claude-*",
        // Google: ai.google.dev/gemini-api/docs/models, "Inputs"; the model cards of Gemma from
        // version 3 on.
        "gemini-1.5-*",
        "gemini-2*",
        "gemini-3*",
        "gemini-4*",
        "gemini-flash-*",
        "gemini-pro-latest",
        "gemma-3*",
        "gemma3*",
        "gemma-4-*",
        "gemma4*",
        // xAI: docs.x.ai/developers/models, "Modalities".
        "grok-4*",
        "grok-2-vision*",
        // Meta: the model cards of Llama 3.2 Vision and Llama 4, with the names that Bedrock, Fireworks
        // and Ollama give them; Muse.
        "llama-3.2-*-vision*",
        "llama-3-2-*-vision*",
        "llama-v3p2-*-vision*",
        "llama3.2-*vision*",
        "llama3-2-11b-*",
        "llama3-2-90b-*",
        "llama-4-*",
        "llama4*",
        "muse-*",
        // Alibaba: help of Model Studio, "Visual understanding": the VL and Omni families, and from
        // version 3.5 on all but some called Max.
        "qwen-vl-*",
        "qwen*-vl",
        "qwen*-vl-*",
        "qwen*vl:*",
        "qwen*-omni-*",
        "qvq-*",
        "qwen3.5-*",
        "qwen3.5:*",
        "qwen3.6-*",
        "qwen3.6:*",
        "qwen3.7-*",
        "qwen3.8-*",
        "qwen3.8:*",
        // Amazon: "What is Amazon Nova", the understanding models but for Micro.
        "nova-lite*",
        "nova-pro*",
        "nova-premier*",
        "nova-2-lite*",
        "nova-2-pro*",
        // Z.ai: docs.z.ai, "Vision models"; of those without a `v`, GLM-5.3-Flash.
        "glm-4v*",
        "glm-4.1v*",
        "glm-4.5v*",
        "glm-4.6v*",
        "glm-5v*",
        "glm-5.3-flash*",
        // Moonshot: platform.moonshot.ai, "Vision", and the model cards from K2.5 on.
        "kimi-vl-*",
        "kimi-k2.5*",
        "kimi-k2.6*",
        "kimi-k2.7*",
        "kimi-k3*",
        "moonshot-v1-*-vision*",
        // DeepSeek: the model cards; V4 itself reads text alone.
        "deepseek-v4-flash-vision*",
        "deepseek-v4.1-flash*",
        "deepseek-vl*",
        // MiniMax: the model card of M3.
        "minimax-m3*",
        // Model cards: InternVL, MiniCPM-V, LLaVA, Microsoft's Phi.
        "internvl*",
        "minicpm-v*",
        "llava*",
        "phi-3*-vision*",
        "phi-4-multimodal*",
    ],
    but: &[
        "*-audio-*",
        "*-transcribe*",
        "*-tts*",
        "gpt-4o-search-*",
        "gpt-4o-mini-search-*",
        "gpt-4-turbo-preview",
        "claude-1*",
        "claude-2*",
        "claude-instant*",
        "claude-v*",
        "gemma-3-1b*",
        "gemma-3-270m*",
        "gemma3:1b*",
        "gemma3:270m*",
        "grok-4-code*",
        "qwen3.6-max*",
        "qwen3.7-max*",
    ],
};

/// The models that take recordings, by the same documentation. Those of Alibaba are left out: its own
/// service wants a `data:` URI in the place of the data (Model Studio, "Qwen-Omni"); and Mistral's
/// Voxtral, for the reason above.
const AUDIO: Known = Known {
    takes: &[
        // OpenAI: "Audio and speech", chat completions with `input_audio`.
        "gpt-4o-audio-*",
        "gpt-4o-mini-audio-*",
        "gpt-audio*",
        // Google: ai.google.dev/gemini-api/docs/openai, "Audio understanding".
        "gemini-1.5-*",
        "gemini-2*",
        "gemini-3*",
        "gemini-4*",
        "gemini-flash-*",
        "gemini-pro-latest",
        // Model cards.
        "phi-4-multimodal*",
        "ultravox*",
    ],
    but: &["*-image*", "*-tts*", "*-computer-use-*"],
};

impl Known {
    fn has(&self, model: &str) -> bool {
        let name = model.rsplit('/').next().unwrap_or_default();
        let name = without_places(name).to_ascii_lowercase();
        let is_in = |patterns: &[&str]| patterns.iter().any(|pattern| fits(pattern, &name));
        is_in(self.takes) && !is_in(self.but)
    }
}

/// A name without the regions and makers that Bedrock and its like put before it
/// (`us.anthropic.claude-…`). What has a digit before its dot is a version (`gemini-2.5-pro`).
fn without_places(mut name: &str) -> &str {
    while let Some((place, rest)) = name.split_once('.')
        && place.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
    {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_are_found_under_the_names_that_gateways_give_them() {
        let models = MediaPatterns::default();
        for (model, images, audio) in [
            ("gpt-4o", true, false),
            ("gpt-4o-mini-2024-07-18", true, false),
            ("openai/gpt-4.1", true, false),
            ("gpt-4o-audio-preview", false, true),
            ("gpt-audio-mini", false, true),
            ("gpt-4o-mini-transcribe", false, false),
            ("gpt-5-nano", true, false),
            ("o1", true, false),
            ("o1-mini", false, false),
            ("o3-mini", false, false),
            ("o4-mini", true, false),
            ("gpt-4", false, false),
            ("gpt-3.5-turbo", false, false),
            ("claude-3-5-sonnet-20241022", true, false),
            ("anthropic/claude-sonnet-4.5", true, false),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", true, false),
            ("anthropic/claude-fable-5.1", true, false),
            ("us-gov.anthropic.claude-opus-5-v1:0", true, false),
            ("claude-2.1", false, false),
            ("anthropic.claude-instant-v1", false, false),
            ("models/gemini-2.5-flash", true, true),
            ("gemini-2.5-flash-image", true, false),
            ("google/Gemma-3-27b-it", true, false),
            ("gemma-3-1b-it", false, false),
            ("meta-llama/Llama-4-Scout-17B-16E-Instruct", true, false),
            ("meta-llama/Llama-3.3-70B-Instruct", false, false),
            ("Qwen/Qwen2.5-VL-72B-Instruct", true, false),
            ("qwen3-coder", false, false),
            ("pixtral-large-latest", false, false),
            ("mistral-large-latest", false, false),
            ("voxtral-small-latest", false, false),
            ("deepseek-chat", false, false),
            ("deepseek-v4-pro", false, false),
            ("deepseek-v4.1-flash", true, false),
            ("openai.gpt-6-sol", true, false),
            ("gpt-oss-120b", false, false),
            ("gemini-4-argon", true, true),
            ("gemini-2.5-pro-preview-tts", false, false),
            ("google.gemma-4-31b", true, false),
            ("grok-4.20", true, false),
            ("grok-3", false, false),
            ("meta.llama3-2-90b-instruct-v1:0", true, false),
            ("Qwen/Qwen3.6-27B", true, false),
            ("qwen3.7-max", false, false),
            ("qwen3.8-max", true, false),
            ("qwen3-omni-30b-a3b-instruct", true, false),
            ("eu.amazon.nova-2-lite-v1:0", true, false),
            ("amazon.nova-micro-v1:0", false, false),
            ("z-ai/glm-5v-turbo", true, false),
            ("glm-5.2", false, false),
            ("moonshotai/Kimi-K2.6", true, false),
            ("kimi-k2-thinking", false, false),
            ("scripted", false, false),
            ("", false, false),
        ] {
            assert_eq!(models.takes_images(model), images, "{model}");
            assert_eq!(models.takes_audio(model), audio, "{model}");
        }
    }

    #[test]
    fn an_operators_patterns_add_to_the_known_ones_and_take_from_them() {
        let models = MediaPatterns::default()
            .with_images(["mine-*"])
            .with_audio(["mine-loud"])
            .with_text_only(["gpt-4o", "mine-not"]);
        assert!(models.takes_images("mine-1") && !models.takes_audio("mine-1"));
        assert!(models.takes_audio("mine-loud"));
        assert!(!models.takes_images("gpt-4o") && !models.takes_images("mine-not"));
        assert!(models.takes_images("gpt-4o-mini"));
        assert!(!MediaPatterns::none().takes_images("gpt-4o"));
    }

    #[test]
    fn an_operators_patterns_count_for_both_names_of_a_model_with_an_alias() {
        let models = MediaPatterns::default()
            .with_images(["mine-*"])
            .with_audio(["mine-loud"])
            .with_text_only(["plain-*"]);
        for (alias, model, images, audio) in [
            ("mine-1", "m", true, false),
            ("a", "mine-loud", true, true),
            ("mine-loud", "m", true, true),
            ("a", "gpt-4o", true, false),
            ("gpt-4o-x", "m", false, false),
            ("plain-1", "gpt-4o", false, false),
            ("mine-1", "plain-1", false, false),
        ] {
            assert_eq!(
                models.alias_takes_images(alias, model),
                images,
                "{alias} {model}"
            );
            assert_eq!(
                models.alias_takes_audio(alias, model),
                audio,
                "{alias} {model}"
            );
        }
    }
}
