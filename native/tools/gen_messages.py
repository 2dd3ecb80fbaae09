"""Compile proto/ for C++: plain structs that encode and decode themselves through protozero.

Why not protoc's own C++ output: it needs libprotobuf at run time, and a trainer process already
holds two hidden copies of it (in libarrow_flight and in TensorFlow). protozero is header-only,
so the core brings no third. The .proto files stay the single source of the wire format.

Usage: gen_messages.py OUT_HEADER PROTO_ROOT FILE.proto...
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2 as d
from grpc_tools import protoc

F = d.FieldDescriptorProto

# proto type -> (C++ type, protozero reader/writer suffix, default)
SCALARS = {
    F.TYPE_INT32: ("int32_t", "int32", "0"),
    F.TYPE_INT64: ("int64_t", "int64", "0"),
    F.TYPE_UINT32: ("uint32_t", "uint32", "0"),
    F.TYPE_UINT64: ("uint64_t", "uint64", "0"),
    F.TYPE_DOUBLE: ("double", "double", "0.0"),
    F.TYPE_BOOL: ("bool", "bool", "false"),
    F.TYPE_STRING: ("std::string", "string", None),
    F.TYPE_BYTES: ("std::string", "bytes", None),
}


def snake_to_camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.lower().split("_"))


def short(type_name: str) -> str:
    return type_name.rsplit(".", 1)[-1]


def emit_enum(e: d.EnumDescriptorProto, out: list[str]) -> None:
    prefix = "".join("_" + c if c.isupper() else c.upper() for c in e.name).lstrip("_") + "_"
    out.append(f"enum class {e.name} : int32_t {{")
    for v in e.value:
        out.append(f"  k{snake_to_camel(v.name.removeprefix(prefix))} = {v.number},")
    out.append("};\n")


def emit_message(m: d.DescriptorProto, out: list[str]) -> None:
    out.append(f"struct {m.name} {{")
    for f in m.field:
        cpp = cpp_type(f)
        if f.label == F.LABEL_REPEATED:
            out.append(f"  std::vector<{cpp}> {f.name};")
        elif f.type == F.TYPE_MESSAGE:
            out.append(f"  std::optional<{cpp}> {f.name};")
        elif f.type == F.TYPE_ENUM:
            out.append(f"  {cpp} {f.name} = static_cast<{cpp}>(0);")
        else:
            default = SCALARS[f.type][2]
            out.append(f"  {cpp} {f.name}{' = ' + default if default else ''};")
    out.append("")
    out.append("  void AppendTo(std::string* buffer) const {")
    out.append("    protozero::pbf_writer w(*buffer);")
    for f in m.field:
        emit_write(f, out)
    out.append("    (void)w;")
    out.append("  }")
    out.append("  std::string Encode() const {")
    out.append("    std::string buffer;")
    out.append("    AppendTo(&buffer);")
    out.append("    return buffer;")
    out.append("  }")
    out.append(
        "  // Throws protozero::exception on malformed bytes; use Parse() for untrusted input."
    )
    out.append(f"  static {m.name} Decode(protozero::data_view bytes) {{")
    out.append(f"    {m.name} m;")
    out.append("    protozero::pbf_reader r(bytes);")
    out.append("    while (r.next()) {")
    out.append("      switch (r.tag()) {")
    for f in m.field:
        emit_read(f, out)
    out.append("        default: r.skip();")
    out.append("      }")
    out.append("    }")
    out.append("    return m;")
    out.append("  }")
    out.append(f"  bool operator==(const {m.name}&) const = default;")
    out.append("};\n")


def cpp_type(f: d.FieldDescriptorProto) -> str:
    if f.type in (F.TYPE_MESSAGE, F.TYPE_ENUM):
        return short(f.type_name)
    if f.type not in SCALARS:
        raise SystemExit(f"field {f.name}: proto type {f.type} has no C++ mapping in {__file__}")
    return SCALARS[f.type][0]


def emit_write(f: d.FieldDescriptorProto, out: list[str]) -> None:
    n, name = f.number, f.name
    if f.label == F.LABEL_REPEATED:
        if f.type == F.TYPE_MESSAGE:
            out.append(f"    for (const auto& v : {name}) w.add_message({n}, v.Encode());")
        elif f.type in (F.TYPE_STRING, F.TYPE_BYTES):
            out.append(f"    for (const auto& v : {name}) w.add_{SCALARS[f.type][1]}({n}, v);")
        else:
            kind = SCALARS[f.type][1]
            out.append(f"    w.add_packed_{kind}({n}, {name}.begin(), {name}.end());")
    elif f.type == F.TYPE_MESSAGE:
        out.append(f"    if ({name}) w.add_message({n}, {name}->Encode());")
    elif f.type == F.TYPE_ENUM:
        out.append(f"    if (static_cast<int32_t>({name}) != 0)")
        out.append(f"      w.add_enum({n}, static_cast<int32_t>({name}));")
    elif f.type in (F.TYPE_STRING, F.TYPE_BYTES):
        out.append(f"    if (!{name}.empty()) w.add_{SCALARS[f.type][1]}({n}, {name});")
    else:
        kind = SCALARS[f.type][1]
        test = name if f.type == F.TYPE_BOOL else f"{name} != {SCALARS[f.type][2]}"
        out.append(f"    if ({test}) w.add_{kind}({n}, {name});")


def emit_read(f: d.FieldDescriptorProto, out: list[str]) -> None:
    name = f.name
    # A known field with another wire type is malformed input; protozero only asserts on it.
    wire = {F.TYPE_MESSAGE: 2, F.TYPE_STRING: 2, F.TYPE_BYTES: 2, F.TYPE_DOUBLE: 1}.get(f.type, 0)
    packed = f.label == F.LABEL_REPEATED and wire != 2
    expect = 2 if packed else wire
    out.append(f"        case {f.number}:")
    out.append(f"          ExpectWireType(r, {expect});")
    if f.type == F.TYPE_MESSAGE:
        decode = f"{short(f.type_name)}::Decode(r.get_view())"
        if f.label == F.LABEL_REPEATED:
            out.append(f"          m.{name}.push_back({decode});")
        else:
            out.append(f"          m.{name} = {decode};")
    elif f.type == F.TYPE_ENUM:
        out.append(f"          m.{name} = static_cast<{short(f.type_name)}>(r.get_enum());")
    elif packed:
        kind = SCALARS[f.type][1]
        out.append(f"          for (auto v : r.get_packed_{kind}()) m.{name}.push_back(v);")
    elif f.type in (F.TYPE_STRING, F.TYPE_BYTES):
        get = f"r.get_{SCALARS[f.type][1]}()"
        if f.label == F.LABEL_REPEATED:
            out.append(f"          m.{name}.push_back({get});")
        else:
            out.append(f"          m.{name} = {get};")
    else:
        out.append(f"          m.{name} = r.get_{SCALARS[f.type][1]}();")
    out.append("          break;")


HEADER = """\
// Generated by native/tools/gen_messages.py. Do not edit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>

namespace flightbridge::proto {

inline void ExpectWireType(const protozero::pbf_reader& r, int expected) {
  if (static_cast<int>(r.wire_type()) != expected)
    throw protozero::unknown_pbf_wire_type_exception{};
}
"""

FOOTER = """\
// Parses untrusted bytes: nullopt where they are not a well-formed M.
template <typename M>
std::optional<M> Parse(std::string_view bytes) {
  try {
    return M::Decode(protozero::data_view(bytes.data(), bytes.size()));
  } catch (const protozero::exception&) {
    return std::nullopt;
  }
}

}  // namespace flightbridge::proto
"""


def main(argv: list[str]) -> None:
    header, root, *files = argv
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "descriptors.pb"
        args = ["protoc", f"-I{root}", f"--descriptor_set_out={out}", *files]
        if protoc.main(args) != 0:
            raise SystemExit(f"protoc failed on {files}")
        descriptors = d.FileDescriptorSet.FromString(out.read_bytes())
    lines = [HEADER]
    for file in descriptors.file:
        for enum in file.enum_type:
            emit_enum(enum, lines)
        for message in ordered(file):
            emit_message(message, lines)
    lines.append(FOOTER)
    Path(header).parent.mkdir(parents=True, exist_ok=True)
    Path(header).write_text("\n".join(lines))


def ordered(file: d.FileDescriptorProto) -> list[d.DescriptorProto]:
    """Messages with those they contain before them."""
    by_name = {m.name: m for m in file.message_type}
    done: list[d.DescriptorProto] = []

    def visit(m: d.DescriptorProto) -> None:
        if m in done:
            return
        for f in m.field:
            if f.type == F.TYPE_MESSAGE:
                visit(by_name[short(f.type_name)])
        done.append(m)

    for m in file.message_type:
        visit(m)
    return done


if __name__ == "__main__":
    main(sys.argv[1:])
