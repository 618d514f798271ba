//! Removes constructors that the browser does not need from an object file before linking.
//!
//! tract registers its model transforms, an NNEF interpreter among them, by constructors that run when the module
//! starts. The viewer uses no transform, but a constructor is a root for the linker, which would keep every operator of
//! tract. See the `linking` section of WebAssembly's tool conventions.

use anyhow::{Context, Result};
use wasmparser::{BinaryReader, InitFuncMap, Parser, Payload, SymbolInfo, SymbolInfoMap};

/// Parts of the mangled symbols (crate and module) of constructors that are not needed.
const NOT_NEEDED: [&str; 4] =
    ["10tract_nnef9transform", "10tract_core9transform", "10tract_core8batchify", "4conv4nhwc"];

const INIT_FUNCTIONS: u8 = 6;
const SYMBOLS: u8 = 8;

/// The object without these constructors, and their number; `None` where it has none.
///
/// # Errors
/// When the bytes are not a WebAssembly object.
pub fn without_constructors(object: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let mut start = 0;
    for payload in Parser::new(0).parse_all(object) {
        let payload = payload.context("not a WebAssembly object")?;
        if let Payload::CustomSection(section) = &payload {
            if section.name() == "linking" {
                let Some((data, removed)) = pruned(section.data())? else { return Ok(None) };
                let mut body = Vec::new();
                leb(section.name().len(), &mut body);
                body.extend_from_slice(section.name().as_bytes());
                body.extend_from_slice(&data);
                let mut out = object[..start].to_vec();
                out.push(0);
                leb(body.len(), &mut out);
                out.extend_from_slice(&body);
                out.extend_from_slice(&object[section.range().end..]);
                return Ok(Some((out, removed)));
            }
        }
        start = match &payload {
            Payload::Version { range, .. } => range.end,
            Payload::CodeSectionEntry(body) => body.range().end,
            other => other.as_section().map_or(start, |(_, range)| range.end),
        };
    }
    Ok(None)
}

/// The section's data without the constructors, and their number.
fn pruned(data: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let mut reader = BinaryReader::new(data, 0);
    let version = reader.read_var_u32()?;
    let mut parts = Vec::new();
    while !reader.eof() {
        let kind = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        parts.push((kind, reader.read_bytes(size)?));
    }
    let part =
        |wanted: u8| parts.iter().find(|(kind, _)| *kind == wanted).map(|(_, bytes)| BinaryReader::new(bytes, 0));
    let (Some(symbols), Some(functions)) = (part(SYMBOLS), part(INIT_FUNCTIONS)) else { return Ok(None) };
    let symbols = SymbolInfoMap::new(symbols)?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let functions = InitFuncMap::new(functions)?.into_iter().collect::<Result<Vec<_>, _>>()?;
    let needed = |symbol: u32| match symbols.get(symbol as usize) {
        Some(SymbolInfo::Func { name: Some(name), .. }) => !NOT_NEEDED.iter().any(|part| name.contains(part)),
        _ => true,
    };
    let kept: Vec<_> = functions.iter().filter(|f| needed(f.symbol_index)).collect();
    let removed = functions.len() - kept.len();
    if removed == 0 {
        return Ok(None);
    }
    let mut list = Vec::new();
    leb(kept.len(), &mut list);
    for function in kept {
        leb(function.priority as usize, &mut list);
        leb(function.symbol_index as usize, &mut list);
    }
    let mut out = Vec::new();
    leb(version as usize, &mut out);
    for (kind, bytes) in parts {
        let bytes = if kind == INIT_FUNCTIONS { &list } else { bytes };
        out.push(kind);
        leb(bytes.len(), &mut out);
        out.extend_from_slice(bytes);
    }
    Ok(Some((out, removed)))
}

/// Unsigned LEB128.
fn leb(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return;
        }
    }
}
