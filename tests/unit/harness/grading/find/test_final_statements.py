"""Final statements: after a thought, corrected, in lists of boxes, reversed, in other languages."""

from __future__ import annotations

import time

import pytest

from harness.grading.grade import grade

THOUGHTS = [
    r"<think>perhaps \boxed{24}</think>",
    r"[THINK]\boxed{24}[/THINK]",
    r"<thinking>\boxed{24}</thinking>",
    r"<reasoning>It is \boxed{24}.</reasoning>",
    r"<|channel|>analysis<|message|>\boxed{24}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<think>The answer is 24.</think>",
]
AFTER_A_THOUGHT = [
    "**Final Answer**\n\n25",
    "Therefore, $m+n = 25$.",
    "The result is 25.",
    "### Answer\n25",
    "Thus, the total number of ways is 25.",
    "So we have $x = 25$.",
    "The answer is 25.",
    "25",
    "**25**",
    "$$25$$",
    "Final answer: 25",
    "Hence the sum equals $25$.",
    "So there are 25 such pairs.",
    r"This gives $\frac{50}{2} = 25$.",
    r"\[ n = 25 \]",
    "答案是25。",
    "La respuesta es 25.",
    "**Answer**\n\n$25$",
    r"The final answer is $\boxed{25}$.",
]
CORRECTED_TO_25 = [
    r"\boxed{24}. Wait, I made an error. The correct answer is 25.",
    r"So \boxed{24}. Hmm, actually the answer is 25.",
    "\\boxed{24}\n\nCorrection: the answer is 25.",
    r"$\boxed{24}$ Oops, I miscounted. It should be 25.",
    r"\boxed{24}. No, wait: the correct value is 25.",
    r"We get \boxed{24}. On second thought, the answer should be 25.",
    r"\boxed{24}. But that double counts one. Therefore, the answer is 25.",
    "\\boxed{24}\n\nFinal answer: 25",
    "\\boxed{24}\n\n**Answer:** 25",
    "\\boxed{24}\n\n### Final Answer\n25",
    r"\boxed{24}. Sorry, that is wrong. The right answer is $25$.",
    r"I first got \boxed{24}. Then I corrected it to \boxed{25}.",
    r"\boxed{24}. Let me recheck. The final answer is 25.",
    r"\boxed{24} is incorrect. \boxed{25} is correct.",
    r"\boxed{24}. 答案应该是25。",
    r"\boxed{24}. Actually it is 25.",
]
STILL_25 = [
    r"\boxed{25}. I hope it is correct.",
    r"\boxed{25}. We checked 3 cases.",
    r"\boxed{25}. Note that the answer is an integer.",
    r"\boxed{25}. The answer is reasonable.",
    "\\boxed{25}.\n\nThus, 3 of the cases fail.",
    r"\boxed{25}. Check: $5^2=25$ and $4^2=16$.",
    r"\boxed{25}. The answer is in the range 1 to 100.",
    r"\boxed{25} is the answer since there are 5 rows of 5.",
    r"\boxed{25}, which is greater than 24.",
    r"\boxed{25}. This answer is 1 more than 24.",
    r"The answer is 24? No. \boxed{25}",
    r"\boxed{25}. Let me verify: 20+5=25, and 30-5 = 25. Done in 2 ways.",
    "\\boxed{25}\n\nLet me know if you want 3 more examples.",
]
LISTS_OF_2_AND_3 = [
    r"\boxed{2}, \boxed{3}",
    r"The solutions are $\boxed{2}$ and $\boxed{3}$.",
    r"$x=\boxed{2}$ or $x=\boxed{3}$",
    r"\boxed{2} and \boxed{3}",
    r"\boxed{2} or \boxed{3}",
    r"$\boxed{2}$, $\boxed{3}$",
    r"\(\boxed{2}\) and \(\boxed{3}\)",
    r"$x_1=\boxed{2}$, $x_2=\boxed{3}$",
    r"\boxed{x=2} or \boxed{x=3}",
    r"$\boxed{2} \text{ and } \boxed{3}$",
    r"解为 $\boxed{2}$ 和 $\boxed{3}$",
    r"\boxed{2}、\boxed{3}",
    r"Las soluciones son $\boxed{2}$ y $\boxed{3}$ (respuesta).",
    r"$\boxed{2}$ & $\boxed{3}$",
    r"\boxed{2}; \boxed{3}",
    r"$$\boxed{2}\quad\text{or}\quad\boxed{3}$$",
    r"**\boxed{2}** and **\boxed{3}**",
]
BOXES_OF_25 = [
    r"(a) \boxed{5} (b) \boxed{25}",
    "\\boxed{5}.\nStep 2: \\boxed{25}",
    r"\boxed{25}. (Common mistake: \boxed{24}.)",
    r"\boxed{25} rather than \boxed{24}",
    r"\boxed{25}, not \boxed{24}",
    r"\boxed{25} (a common error is \boxed{24})",
    r"\boxed{25}. If we forgot the last case we would get \boxed{24}.",
    r"\boxed{25} as opposed to the incorrect \boxed{24}",
    r"Part 1: \boxed{5}. Part 2: \boxed{25}.",
    r"\boxed{25}. Someone might answer \boxed{24}, which is wrong.",
    r"First $\boxed{5}$, then $\boxed{25}$.",
    r"\boxed{25}. Note: \boxed{24} is incorrect.",
    r"\boxed{25} and again \boxed{25}",
    r"\boxed{25}, i.e. \boxed{25}",
    r"The answer is \boxed{25} (and not \boxed{24}).",
    r"\boxed{25} and not \boxed{24}",
    r"\boxed{25} instead of \boxed{24}",
    r"\boxed{25}. Unlike \boxed{24}, it counts zero.",
]
REVERSED_25 = [
    "$20+5$ is the answer.",
    "25 is the answer.",
    "Thus $25$ is our final answer.",
    "So 25 apples is the answer.",
    "Therefore $x=25$ is the answer.",
    "$5^2$ is the correct answer",
    r"$\{25\}$ is the answer",
    "Hence, 25 is indeed the answer.",
    "The number 25 is the answer.",
]
REVERSED_NOT_25 = [
    "So 20 + 25 is the answer.",
    "At least 25 is the answer.",
    "24 or 25 is the answer.",
    r"$\sqrt{25}$ is the answer.",
    "Half of 25 is our answer.",
    "about 25% of 80 is the answer",
    "more than 25 is the answer",
    "The square of 25 is the answer.",
    "minus 25 is the answer",
    "$25^{2}$ is the answer",
    "25! is the answer",
    r"$\frac{25}{2}$ is the answer.",
    "25 or so, maybe 26, is the answer.",
    "Not 25 but 24 is the answer.",
    r"$\binom{25}{2}$ is the answer.",
    "$[0,25]$ is the answer.",
    "A number less than 25 is the answer",
    r"$3\cdot25$ is the answer",
    "the 25th one is the answer",
    "the root of 25 is the answer",
    "either 25 or 5 is the answer",
    "2.25 is the answer",
    "1,025 is the answer",
    "25 squared is the answer",
    "$-25$ is our answer",
]
STATES_24_NOT_25 = [
    "答案：24。检验：20+5=25",
    "よって、答えは24です。（25ではない）",
    "La respuesta es 24. Comprobación: 20+5=25.",
    "Ответ: 24. Проверка: 20+5=25",
    "**Final Answer**\n\n24\n\nCheck: $5^2 = 25$.",
    "答案为24，而不是25。",
    "答案是24，因为25不满足条件。",
    "最终答案：24\n\n验证：25-1=24，25个。",
    "答え：24\n検算：20+5=25",
    "答えは24である。なぜなら25は奇数だから。",
    "정답은 24입니다. 검산: 20+5=25",
    "답: 24\n(25는 아님)",
    "La respuesta final es $24$. (Hay 25 casos en total.)",
    "Respuesta: 24. Verificación: 25.",
    "La réponse est 24. Vérification : 20+5=25.",
    "Réponse : 24\n\nVérification: 25",
    "Die Antwort ist 24. Probe: 20+5=25.",
    "Antwort: 24\nProbe: 25",
    "A resposta é 24. Verificação: 20+5=25.",
    "Resposta: 24. (25 casos)",
    "La risposta è 24. Verifica: 20+5=25.",
    "Risposta: 24; verifica 25",
    "Ответ: 24, а не 25.",
    "Правильный ответ равен 24. Проверка: 25.",
    "Ответ — 24. Всего 25 случаев.",
    "Het antwoord is 24. Controle: 20+5=25.",
    "Odpowiedź: 24. Sprawdzenie: 25",
    "Cevap: 24. Kontrol: 25",
    "Đáp án: 24. Kiểm tra: 25",
    "**Answer**\n24\n\nCheck: 25",
    "## Final Answer\n\n$24$\n\n## Check\n25",
    "# Answer\n\\(24\\)\n\nCheck 25",
    "故答案为24。共25人。",
    "所以，答案是 $24$。检验 $25$。",
    "答：24个。（共25个）",
    "【答案】24【解析】共25人",
    "正解は24。25は誤り。",
    "Die richtige Antwort lautet 24, nicht 25.",
    "La réponse correcte est $24$, pas 25.",
    "La respuesta correcta es 24, no 25.",
    "Final Answer\n24\nVerification\n25",
    "答案是24而不是25",
    "Svaret är 24. Kontroll: 25",
    "Result: 24. Check: 25",
    r"最终答案是 \(24\)。因为共有25种。",
    "因此答案等于24，验证25。",
]
DOES_NOT_STATE_25 = [
    "答案不是25。",
    "答案：大于25",
    "答案是24或25。",
    "答案至少是25",
    "答案是25以上",
    "答えは25ではない。",
    "答えは25以上です。",
    "答えは24または25です。",
    "정답은 25가 아니다.",
    "정답은 25 이상이다.",
    "정답은 24 또는 25",
    "La respuesta no es 25.",
    "La respuesta es mayor que 25",
    "La respuesta es al menos 25",
    "La respuesta es 24 o 25.",
    "La réponse n'est pas 25.",
    "La réponse est 24 ou 25.",
    "La réponse est au moins 25.",
    "La réponse est supérieure à 25",
    "Die Antwort ist nicht 25.",
    "Die Antwort ist mindestens 25.",
    "Die Antwort ist 24 oder 25.",
    "Die Antwort ist größer als 25",
    "A resposta não é 25.",
    "A resposta é pelo menos 25.",
    "A resposta é 24 ou 25.",
    "La risposta non è 25.",
    "La risposta è almeno 25.",
    "La risposta è 24 o 25.",
    "Ответ: больше 25",
    "Ответ не 25",
    "Ответ: 24 или 25",
    "Ответ: не менее 25",
    "答案是25的一半",
    "答案是25的平方",
    "答案是25万",
    "答案约为25或26",
    "25不是答案",
    "25 no es la respuesta.",
    "答案介于24和25之间",
    "La respuesta es el doble de 25",
    "Die Antwort ist die Hälfte von 25",
    "答案可能是24或者25",
    "La respuesta es menos de 25",
    "A resposta é maior que 25",
    "Ответ меньше 25",
    "答案：不超过25",
    "答案小于25",
    "答えは25より大きい",
    "答えは25未満",
    "정답은 25보다 크다",
    "至少25个",
    "大于25",
    "答案是2的25次方",
    "答案是$2^{25}$",
    "La respuesta es $2^{25}$",
    "答案是25倍",
    "这不等于25",
]
STATES_25 = [
    "答案是25",
    "答案：25个",
    "答：一共有25个苹果。",
    "小红一共有25支铅笔。",
    "答案为$25$",
    "答案是：25。",
    "答案：$x=25$",
    "答案就是25",
    "所以一共是25元。",
    "因此 $x=25$。",
    "よって25個です。",
    "答えは25個です。",
    "答えは $25$ です",
    "따라서 정답은 25이다.",
    "답은 25개입니다.",
    "정답: 25",
    "La respuesta es $25$.",
    "La respuesta es 25 manzanas.",
    "La réponse est $25$.",
    "La réponse finale est 25 euros.",
    "Die Antwort lautet 25.",
    r"Die Antwort ist $\frac{50}{2}$.",
    "A resposta final é 25.",
    "La risposta finale è $25$.",
    "Ответ: 25",
    "Ответ: $25$ рублей.",
    "Ответ равен 25.",
    "Итак, ответ 25.",
    "故选25",
    "总共需要25分钟。",
    "最后结果是25。",
    "结果为25",
    "Resultado: 25",
    "Ergebnis: 25",
    "答案是 **25**",
    "**答案：25**",
    "Lösung: 25",
    r"答案: \boxed{25}",
    "【答】25",
    "所以答案应为25。",
    "The answer is 25.</s>",
    "**Answer:** 25 ✅",
    "__25__",
    "Answer: 25<|im_end|>",
    "The answer is 25.<|eot_id|>",
    "25</s>",
    "The answer is 25 🎉",
    "**Answer: 25**",
    "boxed{25}, as for n = 3.",
    "So \x08oxed{25}, n = 3.",
    "oxed{25} in 3 steps",
    "_25_",
    "*25*",
    "***25***",
    "`25`",
    "The answer is __25__.",
    "The answer: **25**!",
]


@pytest.mark.parametrize("thought", THOUGHTS)
def test_what_is_stated_after_a_thought_counts(thought: str) -> None:
    for said in AFTER_A_THOUGHT:
        assert grade(f"{thought}\n\n{said}", "25").correct, said
        assert not grade(f"{thought}\n\n{said}", "24").correct, said
    for said in ("Done after 3 checks.", "I verified it with 3 examples.", "See step 3 above.", ""):
        assert grade(f"{thought} {said}", "24").correct, said


@pytest.mark.parametrize("completion", CORRECTED_TO_25)
def test_a_correction_beats_the_box_before_it(completion: str) -> None:
    assert grade(completion, "25").correct
    assert not grade(completion, "24").correct


@pytest.mark.parametrize("completion", STILL_25)
def test_a_remark_does_not_beat_the_box_before_it(completion: str) -> None:
    assert grade(completion, "25").correct


def test_a_later_choice_beats_the_box_of_a_formula() -> None:
    assert grade(r"\boxed{x+1}. Answer: D", "D").correct
    assert grade("\\boxed{x+1}\nThe correct option is D.", "D").correct


@pytest.mark.parametrize("completion", LISTS_OF_2_AND_3)
def test_boxes_in_a_list_are_one_answer(completion: str) -> None:
    assert grade(completion, "2,3").correct
    assert not grade(completion, "2").correct
    assert not grade(completion, "3").correct


@pytest.mark.parametrize("completion", BOXES_OF_25)
def test_boxes_that_are_no_list(completion: str) -> None:
    assert grade(completion, "25").correct
    assert not grade(completion, "24").correct


@pytest.mark.parametrize("completion", [*REVERSED_25, *STATES_25])
def test_states_25(completion: str) -> None:
    assert grade(completion, "25").correct


@pytest.mark.parametrize("completion", [*REVERSED_NOT_25, *DOES_NOT_STATE_25])
def test_does_not_state_25(completion: str) -> None:
    assert not grade(completion, "25").correct


@pytest.mark.parametrize("completion", STATES_24_NOT_25)
def test_other_languages_and_headings(completion: str) -> None:
    assert grade(completion, "24").correct
    assert not grade(completion, "25").correct


def test_a_box_without_its_backslash() -> None:
    assert grade("So boxed{588}, as for n = 3.", "588").correct
    assert not grade("So boxed{588}, as for n = 3.", "3").correct


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{1} and " * 8_000,
        "答案是" * 33_000,
        "25不是答案。" * 16_000,
        "respuesta es no " * 6_000,
        "**Answer**\n\n" * 8_000,
        "</think>**" * 10_000,
        " is the answer" * 7_000,
        "$" * 50_000 + " is the answer",
        r"\boxed{24}. Wait, " * 5_000,
        "~~" * 50_000,
        "__1" * 33_000,
        "wait " * 20_000 + r"\boxed{2}" + " wait" * 20_000,
        "1 is the answer? no " * 5_000,
        r"\boxed{2}" + "\n" * 100_000,
        r"\boxed{2}" + " " * 100_000 + "答案是 2",
        " " * 100_000 + "respuesta 2",
        "答" + " " * 100_000 + ".",
        r"\boxed{2}" + "\n#" * 50_000,
        "<|a|>" * 20_000,
        "answer\n" * 15_000,
        r"\boxed{2}" + " wait" * 20_000 + " 3",
        ", \\boxed{2" * 10_000,
    ],
    ids=range(22),
)
def test_hostile_text_of_100_kb_is_cheap(text: str) -> None:
    start = time.process_time()
    assert not grade(text, "26", use_symbolic=False).correct
    assert time.process_time() - start < 1.0
