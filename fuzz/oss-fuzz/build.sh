#!/bin/bash -eu
# Builds every target with its seed corpus, as OSS-Fuzz expects it in $OUT.
pip3 install --extra-index-url https://download.pytorch.org/whl/cpu .
for source in fuzz/fuzz_*.py; do
  name=$(basename "$source" .py)
  PYTHONPATH=. compile_python_fuzzer "$source" --paths . --collect-data diffcodec
  PYTHONPATH=. python3 -m fuzz.seeds "${name#fuzz_}" "seeds/$name"
  zip --quiet --junk-paths "$OUT/${name}_seed_corpus.zip" "seeds/$name"/*
  printf '[libfuzzer]\nrss_limit_mb = 3000\ntimeout = 60\n' > "$OUT/$name.options"
done
