"""Models that lm-eval runs, scored as checkpoints are: an endpoint on this machine, a transformers model."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import sqrt
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("tenacity")  # of lm-eval's endpoints

from harness.evaluation.score_lm import main
from harness.records.lines import read_samples
from harness.records.records import EvalRecord, read_eval
from tests.unit.harness.tiny import untrained_base

TASKS = Path(__file__).resolve().parents[4] / "tasks"
# What the endpoint says to a prompt in turn; temperature 0 gets the last.
ANSWERS = {
    "What is 3+4?": [r"3+4=7, so \boxed{7}", r"3+4=8, so \boxed{8}", "The answer is 7.", r"\boxed{7}"],
    "What is 5+5?": [r"\boxed{9}", r"5+5=10. \boxed{9}", None, r"\boxed{10}"],
}


class Endpoint(BaseHTTPRequestHandler):
    """/v1/chat/completions with canned completions."""

    requests: ClassVar[list[dict]] = []
    told: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body | {"path": self.path})
        question = body["messages"][0]["content"].split("\n")[0]
        i = 3 if body["temperature"] == 0 else self.told[question] % 3
        self.told[question] += body["temperature"] > 0
        message = {"role": "assistant", "content": ANSWERS[question][i]}
        reply = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(Endpoint, "requests", [])
    monkeypatch.setattr(Endpoint, "told", Counter())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.shutdown()
    server.server_close()


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    rows = [
        {"id": f"s{i}", "problem": q, "answer": a}
        for i, (q, a) in enumerate(zip(ANSWERS, ("7", "10"), strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"[{{task: jsonl, name: sums, path: {path}, k: 3, max_new_tokens: 64}}]"


def score(tmp_path: Path, *arguments: str) -> tuple[EvalRecord, list[dict]]:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out" / "eval").glob("*/sums_k.json")
    return read_eval(path), list(read_samples(path.with_suffix(".samples.jsonl.gz")))


def test_an_endpoint_is_scored_like_a_checkpoint(
    tmp_path: Path, endpoint: str, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "local-chat-completions", "--model_args", f"model=canned,base_url={endpoint}"]
    record, samples = score(tmp_path, *arguments, "--apply_chat_template", "--benchmarks", problems)
    assert record.correct == [[1, 0, 1], [0, 0, 0]] and record.greedy_correct == [1, 1]
    assert record.answers == [["7", "8", "7"], ["9", "9", None]]
    assert record.num_wrong_steps == [[0, 1, 0], [0, 0, 0]] and record.length_unit == "words"
    m = record.metrics
    assert m["avg_at_k"] == pytest.approx(1 / 3) and m["maj_at_k"] == 0.5 and m["pass_at_3"] == 0.5
    # one problem has p(1-p)/(n-1) = (2/9)/2, the other 0: sqrt(1/9)/2; sd(2/3, 0)/sqrt(2) = 1/3
    assert m["avg_at_k_se_sampling"] == pytest.approx(sqrt(1 / 9) / 2)
    assert m["avg_at_k_se_problems"] == pytest.approx(1 / 3)
    assert not any("truncated" in name for name in m) and m["greedy"] == 1.0
    assert [s["completion"] for s in samples] == [
        *ANSWERS["What is 3+4?"][:3],
        *ANSWERS["What is 5+5?"][:2],
        "",
        r"\boxed{7}",
        r"\boxed{10}",
    ]
    assert [s["correct"] for s in samples] == [True, False, True, False, False, False, True, True]
    assert "avg_at_k 33.3" in capsys.readouterr().out
    sampled = [r for r in Endpoint.requests if r["temperature"] > 0]
    assert len(sampled) == 6 and len(Endpoint.requests) == 8
    for request in sampled:
        assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.6, 0.95, 64)
        assert request["seed"] is None  # one seed for all would make k equal samples
        assert request["messages"][0]["role"] == "user" and len(request["messages"]) == 1
        assert r"within \boxed{}" in request["messages"][0]["content"]


def test_a_transformers_model_is_scored_with_its_tokens(tmp_path: Path, problems: str) -> None:
    model = untrained_base(tmp_path / "base") / "model"
    arguments = ["--model", "hf", "--model_args", f"pretrained={model}", "--benchmarks", problems]
    record, samples = score(tmp_path, *arguments)
    assert record.length_unit == "tokens" and record.checkpoint.startswith("model-")
    assert record.k == 3 and record.n_problems == 2 and len(samples) == 8
    texts = [s["completion"] for s in samples if s["sample_idx"] is not None]
    assert len(set(texts)) > 3  # samples of a problem are drawn, not repeated
    assert all(n > 0 for row in record.lengths for n in row)
    again, _ = score(tmp_path, *arguments)
    assert again.answers == record.answers and again.lengths == record.lengths  # one seed, one result


def test_plain_lm_eval_runs_a_task_on_a_transformers_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lm_eval.__main__ import cli_evaluate

    model = untrained_base(tmp_path / "base") / "model"
    words = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu"]
    words += ["--include_path", str(TASKS), "--tasks", "aime_gen_test_k", "--limit", "1"]
    words += ["--gen_kwargs", "max_gen_toks=8", "--log_samples", "--output_path", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", words)
    cli_evaluate()
    shown = capsys.readouterr().out
    for metric in ("avg_at_k", "avg_at_k_se_sampling", "avg_at_k_se_problems", "maj_at_k", "pass_at_k"):
        assert metric in shown
    (samples,) = (tmp_path / "out").rglob("samples_aime_gen_test_k_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert len(rows) == 1 and len(rows[0]["filtered_resps"][0]) == 8  # every completion, beside its metrics
    (results,) = (tmp_path / "out").rglob("results_*.json")
    json.loads(results.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_all_wrong_is_shown_with_an_interval_and_a_sample_as_one(
    tmp_path: Path, endpoint: str, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "local-chat-completions", "--model_args", f"model=canned,base_url={endpoint}"]
    one = problems.replace("k: 3", "k: 2, limit: 1, greedy: false").replace("sums.jsonl", "wrong.jsonl")
    rows = [{"id": f"w{i}", "problem": q, "answer": "-1"} for i, q in enumerate(ANSWERS)]
    (tmp_path / "wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record, _ = score(tmp_path, *arguments, "--apply_chat_template", "--benchmarks", one)
    assert (record.n_problems, record.sampled_from, record.metrics["avg_at_k"]) == (1, 2, 0.0)
    assert not any("_se_" in name for name in record.metrics)
    shown = capsys.readouterr().out
    # 0 of 1: the upper end is z^2 / (1 + z^2) = 3.8415 / 4.8415
    assert "1 problems, a sample of 2" in shown and "avg_at_k 0.0 [0.0, 79.3]" in shown


def test_two_endpoints_keep_two_records(tmp_path: Path, endpoint: str, problems: str) -> None:
    words = ["--model", "local-chat-completions", "--apply_chat_template", "--benchmarks", problems]
    for url in (endpoint, f"{endpoint}?other", endpoint):
        arguments = ["--model_args", f"model=canned,base_url={url}", "--out", str(tmp_path / "out")]
        assert main([*words, *arguments]) == 0
    assert len(list((tmp_path / "out" / "eval").glob("canned-*/sums_k.json"))) == 2


def test_a_model_that_is_not_there_is_one_line(
    tmp_path: Path, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "hf", "--model_args", f"pretrained={tmp_path / 'nowhere'}"]
    assert main([*arguments, "--benchmarks", problems, "--out", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: --model_args: ") and "nowhere" in last
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for benchmarks, message in (
        ("[{task: nothing}]", "--benchmarks: 0.task=nothing: no such preset"),
        ("[{task: gsm8k, k: 0}]", "--benchmarks: 0.k=0: give a number greater than 0"),
        ("[aime24, {taks: gsm8k}]", "--benchmarks: 1.taks: no such setting; did you mean task?"),
    ):
        assert main(["--model", "dummy", "--benchmarks", benchmarks, "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}") and "pydantic" not in error and error.count("\n") == 1
