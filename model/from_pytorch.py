#!/usr/bin/env python3
"""Turn a TransNormerLLM checkpoint in PyTorch's .bin files into one in .safetensors files.

    python3 model/from_pytorch.py DIRECTORY [OUTPUT]

DIRECTORY has config.json and pytorch_model.bin, or the shards that pytorch_model.bin.index.json
lists. OUTPUT (DIRECTORY itself where it is left out) gets model.safetensors or as many shards with
an index, config.json and tokenizer.model. Numbers are kept as they are. Tensors that are no weights
of the model, such as masks that can be computed, are left out and named on standard error.

It needs PyTorch and nothing else.
"""

import argparse
import json
import os
import re
import shutil
import struct
import sys

import torch

WEIGHTS = re.compile(
    r"model\.embed_tokens\.weight"
    r"|model\.layers\.\d+\.token_mixer\.(qkvu_proj|out_proj)\.weight"
    r"|model\.layers\.\d+\.token_mixer\.lrpe\.theta"
    r"|model\.layers\.\d+\.channel_mixer\.l[123]\.weight"
    r"|lm_head\.weight"
)
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
HEADER_UNIT = 64  # the data begin at a multiple of this


def fail(text):
    sys.exit(f"from_pytorch: {text}")


def load(path):
    """The tensors of a .bin file. Only tensors: nothing in the file is run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever is wrong with the file, its name belongs to it
        fail(f"{path}: {type(error).__name__}: {error}")


def raw(tensor):
    """A tensor's bytes, row by row."""
    flat = tensor.detach().contiguous().flatten()
    if flat.element_size() == 2:
        flat = flat.view(torch.int16)
    return flat.numpy().tobytes()


def write(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % HEADER_UNIT)
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(raw(tensor))
    os.replace(path + ".part", path)
    return offset


def select(path, tensors):
    """The weights of the model among a file's tensors."""
    kept = {}
    for name, tensor in sorted(tensors.items()):
        if not WEIGHTS.fullmatch(name):
            print(f"from_pytorch: {path}: {name} is left out: no weight", file=sys.stderr)
        elif tensor.dtype not in TYPES:
            fail(f"{path}: {name}: type is {tensor.dtype}, expected float32, float16 or bfloat16")
        else:
            kept[name] = tensor
    return kept


def files_of(directory):
    index = os.path.join(directory, "pytorch_model.bin.index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as file:
            return sorted(set(json.load(file)["weight_map"].values()))
    if os.path.exists(os.path.join(directory, "pytorch_model.bin")):
        return ["pytorch_model.bin"]
    fail(f"{directory}: has neither pytorch_model.bin nor pytorch_model.bin.index.json")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory")
    parser.add_argument("output", nargs="?")
    arguments = parser.parse_args()
    output = arguments.output or arguments.directory
    os.makedirs(output, exist_ok=True)
    names, weight_map, total = files_of(arguments.directory), {}, 0
    for i, name in enumerate(names):
        path = os.path.join(arguments.directory, name)
        tensors = select(path, load(path))
        made = "model.safetensors"
        if len(names) > 1:
            made = f"model-{i + 1:05d}-of-{len(names):05d}.safetensors"
        total += write(os.path.join(output, made), tensors)
        weight_map.update({tensor: made for tensor in tensors})
    if len(names) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        with open(
            os.path.join(output, "model.safetensors.index.json"), "w", encoding="utf-8"
        ) as file:
            json.dump(index, file, indent=2)
    for name in ("config.json", "tokenizer.model"):
        source = os.path.join(arguments.directory, name)
        if output != arguments.directory and os.path.exists(source):
            shutil.copy(source, output)


if __name__ == "__main__":
    main()
