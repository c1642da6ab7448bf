//! Reads one file: its public types, and the foreign crates that its public items name.

use std::collections::{HashMap, HashSet};

use syn::{
    Attribute, Fields, File, ImplItem, Item, ItemEnum, ItemImpl, ItemStruct, ItemTrait, Signature,
    Type, UseTree, Visibility,
    visit::{self, Visit},
};

/// Adds the names of the types and traits that are `pub`.
pub(crate) fn public_names(file: &File, names: &mut HashSet<String>) {
    for item in &file.items {
        let (visibility, name) = match item {
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Trait(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            _ => continue,
        };
        if is_public(visibility) {
            names.insert(name.to_string());
        }
    }
}

/// Each foreign crate that a public item names, with the item.
pub(crate) fn foreign(
    file: &File,
    public: &HashSet<String>,
    crates: &HashSet<String>,
) -> Vec<(String, String)> {
    let mut reader = Reader {
        public,
        crates,
        found: Vec::new(),
    };
    reader.items(&file.items);
    reader.found
}

struct Reader<'a> {
    public: &'a HashSet<String>,
    crates: &'a HashSet<String>,
    found: Vec<(String, String)>,
}

/// The first segments of all paths.
#[derive(Default)]
struct Paths(Vec<String>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0
            .extend(path.segments.first().map(|first| first.ident.to_string()));
        visit::visit_path(self, path);
    }
}

impl Reader<'_> {
    fn items(&mut self, items: &[Item]) {
        let mut imports = HashMap::new();
        for item in items {
            // A private name that a public one elsewhere has, too.
            if let Item::Enum(ItemEnum { vis, ident, .. })
            | Item::Struct(ItemStruct { vis, ident, .. })
            | Item::Trait(ItemTrait { vis, ident, .. }) = item
                && !is_public(vis)
            {
                imports.insert(ident.to_string(), "self".to_owned());
            }
        }
        for item in items {
            if let Item::Use(item) = item {
                import(&item.tree, None, &mut imports);
            }
        }
        for item in items {
            if let Item::Mod(item) = item
                && let Some((_, items)) = &item.content
                && is_public(&item.vis)
            {
                self.items(items);
            }
            let mut paths = Paths::default();
            if let Some(name) = collect(item, &mut paths)
                && !self.is_private(item, &imports)
            {
                self.note(&name, paths, &imports);
            }
        }
    }

    /// Whether an `impl` is of a trait or for a type that nobody outside can name.
    fn is_private(&self, item: &Item, imports: &HashMap<String, String>) -> bool {
        let Item::Impl(item) = item else {
            return false;
        };
        let Type::Path(own) = &*item.self_ty else {
            return true;
        };
        let is_here = |name: &str| imports.get(name).is_some_and(|root| root == "self");
        let name = last(&own.path);
        if is_here(&name) || !self.public.contains(&name) {
            return true;
        }
        let Some((of, _)) = &item.trait_ else {
            return false;
        };
        let name = last(of);
        let root = imports.get(&name).map(String::as_str);
        is_here(&name) || matches!(root, Some("crate" | "super")) && !self.public.contains(&name)
    }

    fn note(&mut self, item: &str, paths: Paths, imports: &HashMap<String, String>) {
        for first in paths.0 {
            let root = imports.get(&first).unwrap_or(&first);
            if self.crates.contains(root) {
                self.found.push((root.clone(), item.to_owned()));
            }
        }
    }
}

/// Notes which crate, or `crate` itself, each imported name comes from.
fn import(tree: &UseTree, root: Option<&str>, imports: &mut HashMap<String, String>) {
    let mut add = |name: String| {
        let root = root.map_or_else(|| name.clone(), str::to_owned);
        imports.insert(name, root);
    };
    match tree {
        UseTree::Path(path) => {
            let own = path.ident.to_string();
            let root = root.unwrap_or(&own);
            // `use a::{self}` brings the name of the path itself.
            if let UseTree::Group(group) = &*path.tree
                && group
                    .items
                    .iter()
                    .any(|tree| matches!(tree, UseTree::Name(name) if name.ident == "self"))
            {
                imports.insert(own.clone(), root.to_owned());
            }
            import(&path.tree, Some(root), imports);
        }
        UseTree::Name(name) => add(name.ident.to_string()),
        UseTree::Rename(rename) => {
            let root = root.map_or_else(|| rename.ident.to_string(), str::to_owned);
            imports.insert(rename.rename.to_string(), root);
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                import(tree, root, imports);
            }
        }
        UseTree::Glob(_) => {}
    }
}

/// Collects the paths that an item shows to others; the item's name if it is public.
fn collect(item: &Item, paths: &mut Paths) -> Option<String> {
    let named = |visibility: &Visibility, name: &syn::Ident| {
        is_public(visibility).then(|| name.to_string())
    };
    match item {
        Item::Const(item) => {
            paths.visit_type(&item.ty);
            named(&item.vis, &item.ident)
        }
        Item::Enum(item) => {
            derived(&item.attrs, paths);
            paths.visit_generics(&item.generics);
            for variant in &item.variants {
                paths.visit_fields(&variant.fields);
            }
            named(&item.vis, &item.ident)
        }
        Item::Fn(item) => {
            paths.visit_signature(&item.sig);
            named(&item.vis, &item.sig.ident)
        }
        Item::Impl(item) => implemented(item, paths),
        Item::Static(item) => {
            paths.visit_type(&item.ty);
            named(&item.vis, &item.ident)
        }
        Item::Struct(item) => {
            derived(&item.attrs, paths);
            paths.visit_generics(&item.generics);
            shown(&item.fields, paths);
            named(&item.vis, &item.ident)
        }
        Item::Trait(item) => {
            required(item, paths);
            named(&item.vis, &item.ident)
        }
        Item::Type(item) => {
            paths.visit_generics(&item.generics);
            paths.visit_type(&item.ty);
            named(&item.vis, &item.ident)
        }
        Item::Use(item) => {
            let mut imports = HashMap::new();
            import(&item.tree, None, &mut imports);
            paths.0.extend(imports.into_values());
            is_public(&item.vis).then(|| "pub use".to_owned())
        }
        _ => None,
    }
}

fn last(path: &syn::Path) -> String {
    let last = path.segments.last();
    last.map(|last| last.ident.to_string()).unwrap_or_default()
}

/// What an `impl` for a public type shows: all of a trait's, and what is `pub` of its own.
fn implemented(item: &ItemImpl, paths: &mut Paths) -> Option<String> {
    let Type::Path(own) = &*item.self_ty else {
        return None;
    };
    paths.visit_generics(&item.generics);
    let signature = |paths: &mut Paths, signature: &Signature| paths.visit_signature(signature);
    if let Some((of, _)) = &item.trait_ {
        paths.visit_path(of);
        for member in &item.items {
            match member {
                ImplItem::Type(member) => paths.visit_type(&member.ty),
                ImplItem::Fn(member) => signature(paths, &member.sig),
                _ => {}
            }
        }
    } else {
        for member in &item.items {
            match member {
                ImplItem::Fn(member) if is_public(&member.vis) => signature(paths, &member.sig),
                ImplItem::Const(member) if is_public(&member.vis) => paths.visit_type(&member.ty),
                _ => {}
            }
        }
    }
    Some(format!("impl {}", last(&own.path)))
}

fn required(item: &ItemTrait, paths: &mut Paths) {
    paths.visit_generics(&item.generics);
    for bound in &item.supertraits {
        paths.visit_type_param_bound(bound);
    }
    for member in &item.items {
        match member {
            syn::TraitItem::Fn(member) => paths.visit_signature(&member.sig),
            syn::TraitItem::Type(member) => paths.visit_trait_item_type(member),
            _ => {}
        }
    }
}

/// The types of public fields.
fn shown(fields: &Fields, paths: &mut Paths) {
    for field in fields.iter().filter(|field| is_public(&field.vis)) {
        paths.visit_type(&field.ty);
    }
}

/// The traits of `#[derive(…)]`.
fn derived(attributes: &[Attribute], paths: &mut Paths) {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"))
    {
        // A derive that cannot be read does not compile.
        let _ = attribute.parse_nested_meta(|derived| {
            paths.visit_path(&derived.path);
            Ok(())
        });
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}
