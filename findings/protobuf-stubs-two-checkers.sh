#!/usr/bin/env bash
# mypy-protobuf makes the type stubs of a .proto file, and types-protobuf has those of the runtime that they derive from. One
# would guess that what both say fits together for every checker. In truth pyright and Pyrefly report one error for each message
# in a stub that nobody has written: its DESCRIPTOR narrows the one of the base class, which is a mutable attribute. mypy, ty
# and zuban accept it. A project that checks with the first two has to leave generated stubs out.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export PATH="$folder/venv/bin:$PATH"
python -m pip install --quiet --disable-pip-version-check protobuf==6.33.6 types-protobuf==7.35.1.20260906 \
    mypy-protobuf==5.1.0 grpcio-tools==1.72.2 mypy==2.4.1 basedpyright==1.40.2 pyrefly==1.5.0 ty==0.0.108 zuban==0.10.2 \
    2>"$folder/pip.txt" || { cat "$folder/pip.txt"; exit 1; }

mkdir "$folder/project"
cd "$folder/project"
cat >shapes.proto <<'PROTO'
syntax = "proto3";
message Circle { int32 radius = 1; }
message Square { int32 side = 1; }
PROTO
python -m grpc_tools.protoc -I. --python_out=. --mypy_out=quiet:. shapes.proto
# Standard mode is pyright's own.
echo '{"typeCheckingMode": "standard"}' >pyrightconfig.json

python --version
python -m pip list --disable-pip-version-check 2>/dev/null |
    grep -iE '^(protobuf|types-protobuf|mypy|mypy-protobuf|basedpyright|pyrefly|ty|zuban) '
count() { grep -cE "$1" || true; }
set +o pipefail # a checker that finds errors exits with 1
mypy=$(mypy --strict shapes_pb2.pyi 2>&1 | count 'error:')
ty=$(ty check --output-format=concise shapes_pb2.pyi 2>&1 | count 'error\[')
zuban=$(zuban check --strict "--python-executable=$folder/venv/bin/python" shapes_pb2.pyi 2>&1 | count 'error:')
pyright=$(basedpyright shapes_pb2.pyi 2>&1 | tee pyright.txt | count '"DESCRIPTOR" overrides symbol')
pyrefly=$(pyrefly check --preset=default shapes_pb2.pyi 2>&1 | count 'DESCRIPTOR` overrides parent class')
grep -m 1 DESCRIPTOR pyright.txt
echo "errors: mypy $mypy, ty $ty, zuban $zuban, basedpyright in pyright's standard mode $pyright, Pyrefly $pyrefly"

[[ "$mypy $ty $zuban $pyright $pyrefly" == '0 0 0 2 2' ]]
echo 'As observed.'
