"""Names before a value, layout, derivations, other scripts and notations in a box, and their like."""

from __future__ import annotations

import pytest

from tests.unit.harness.grading.tables import boxed, cases

RIGHT = {
    r"\begin{pmatrix}1\\2\end{pmatrix}": (
        r"\mathbf{v} = \begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\vec{v} = \begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\mathbf{A}^{-1} = \begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\begin{pmatrix}x\\y\end{pmatrix} = \begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\begin{bmatrix}1\\[4pt]2\end{bmatrix} ; \begin{smallmatrix}1\\2\end{smallmatrix} ; "
        r"\begin{pmatrix}1\cr2\end{pmatrix} ; \boldsymbol{x}=\begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\vec v = \begin{bmatrix} 1 \\ 2 \end{bmatrix}"
    ),
    r"\frac{9}{25}": (
        r"\mathbb{P}(A)=\frac{9}{25} ; \Pr(A)=\frac{9}{25} ; \mathbb{E}[X]=\frac{9}{25} ; "
        r"E[X]=\frac{9}{25} ; \mathrm{P}(A)=\frac{9}{25} ; P(A\cap B)=\frac{9}{25} ; "
        r"\Pr[X>2] = \frac{9}{25} ; \mathbb{E}(X^2)=\frac{9}{25} ; \operatorname{E}[X]=\frac{9}{25} ; "
        r"\mathrm{Var}(X)=\frac{9}{25} ; \text{P}(A)=\frac{9}{25} ; P(X=2)=\frac{9}{25} ; "
        r"\mathbf{\frac{9}{25}} ; 9\over25 ; \sfrac{9}{25} ; {9\over25} ; \tan B=\frac{9}{25} ; "
        r"\sin\theta=\frac{9}{25} ; \frac{p}{q}=\frac{9}{25} ; ab+bc=\frac{9}{25} ; k^2=\frac{9}{25} ; "
        r"|w|=\frac{9}{25} ; \int_0^2 g(x)\,dx=\frac{9}{25} ; \lim_{n\to\infty} a_n=\frac{9}{25} ; "
        r"\sum_{k=1}^\infty a_k=\frac{9}{25} ; a-b=\frac{9}{25} ; x-\frac{1}{x}=\frac{9}{25} ; "
        r"\textbf{\frac{9}{25}} ; \mathrm{\frac{9}{25}}"
    ),
    "1/2": (
        r"\frac12 \text{ or } 0.5 ; \frac12 or 0.5 ; 0.5 \text{ or } 50\% ; "
        r"\frac{1}{2} \text{ or } \frac{2}{4} ; 1∕2 ; 1⁄2 ; ½ ; "
        r"0.5 \text{ (or } \frac12) ; 0.5 (or 50\%)"
    ),
    "25": (
        r"25个 ; 25\text{元} ; 25円 ; 25度 ; 25\text{平方米} ; 25개 ; 25명 ; 25 人 ; 25\ \text{公里} ; "
        r"25歳 ; “25” ; 25ドル ; 25kg ; \frac{20}{5} \Rightarrow 25 ; m=20,\ n=5,\ m+n=25 ; "
        r"(m,n)=(20,5),\ m+n=25 ; \implies 25 ; \equiv 25 \pmod{1000} ; x=25 \implies 25 ; "
        r"20+5 \Rightarrow x=25 ; a=5, b=5, ab=25 ; p=20; q=5; p+q=25 ; \frac{m}{n}=\frac{7}{18}, m+n=25 ; "
        r"m=7, n=18 \Rightarrow m+n=25 ; \Longrightarrow 25 ; N \equiv 25 \pmod{1000} ; "
        r"\frac{m}{n} = \frac{7}{18} \implies m + n = 25 ; \begin{aligned} x&=25 \end{aligned} ; "
        r"25\ \checkmark ; \colorbox{yellow}{25} ; \mathtt{25} ; \left.25\right. ; \phantom{0}25 ; "
        r"\text{answer}: 25 ; \begin{align*} x &= 20+5 \\ &= 25 \end{align*} ; "
        r"\begin{gathered}25\end{gathered} ; 25\ \blacksquare ; \Large 25 ; \text{Answer}=25 ; "
        r"\hphantom{1}25 ; \boldsymbol{25} ; \pmb{25} ; \textcolor{red}{25} ; 25 ; \num{25} ; "
        r"25\ \square ; \underline{25} ; 20+5 \to 25 ; x+5 → 25 ; 20+5 \rightarrow 25 ; 25\,\checkmark ; "
        r"25✓ ; 25 ✅ ; \strut 25 ; {\bf 25} ; \begin{matrix}25\end{matrix}"
    ),
    "1,2,3": ("1、2、3 ; 1，2，3 ; 1;2;3 ; 3、2、1"),
    r"[2,\infty)": ("x≧2 ; x≥2 ; x⩾2 ; [2,+∞) ; 2≦x"),
    "42": ('“42” ; "42" ; 42'),
    r"\pi/2": (r"𝜋/2 ; π/2 ; 𝛑/2 ; \frac{𝜋}{2}"),
    "30": (
        r"30º ; 30˚ ; 30^o ; 30^{\text{o}} ; 30^{o} ; 30^{\mathrm{o}} ; 30° ; 30\degree ; "
        r"30^\text{o}"
    ),
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}": (
        r"\begin{pmatrix}1&2\\[2pt]3&4\end{pmatrix} ; \begin{pmatrix}1&2\cr3&4\end{pmatrix} ; "
        r"\begin{smallmatrix}1&2\\3&4\end{smallmatrix} ; "
        r"\left(\begin{smallmatrix}1&2\\3&4\end{smallmatrix}\right) ; "
        r"\begin{bmatrix}1&2\\3&4\\\end{bmatrix} ; \left[\begin{array}{cc}1&2\\3&4\end{array}\right]"
    ),
    r"(-\infty,2)\cup(3,\infty)": (
        r"(-\infty,2)\bigcup(3,\infty) ; x\notin[2,3] ; \mathbb{R}\setminus[2,3] ; "
        r"(-\infty;2)\cup(3;\infty)"
    ),
    r"2\sqrt3": (r"2\sqrt(3) ; 2sqrt(3) ; 2√3 ; 2*sqrt(3) ; \sqrt(12)"),
    "1000000": (r"\num{1000000} ; 1,000,000 ; 1_000_000"),
    "AB_{16}": (r"AB_{\text{sixteen}} ; AB_{16} ; \text{AB}_{16}"),
    r"1-\frac{1}{\mathrm{e}}": (r"1-\frac1e ; 1-e^{-1} ; 1-1/\text{e} ; \frac{e-1}{e}"),
    "f(x)=cx": (
        r"f(x)=cx \text{ for all } x ; f(x)=cx\ \forall x ; cx ; f(x) = cx \text{ for every real } x"
    ),
    "2x": (r"P(x)=2x \text{ for all } x ; f(x)=2x, \text{ for all } x\in\mathbb{R}"),
    r"\pm 7": r"+/- 7 ; \pm7 ; 7,-7 ; ±7",
    "120": (
        r"{}_{10}C_3 ; _{10}C_3 ; {}^{10}C_3 ; C(10,3) ; \binom{10}{3} ; \tbinom{10}{3} ; 10 \choose 3 ; "
        r"{10 \choose 3} ; 5! ; \frac{6!}{6}"
    ),
    r"e^{i\pi/4}": (
        r"\operatorname{cis} 45^\circ ; \text{cis }45^\circ ; \cos 45^\circ+i\sin 45^\circ ; "
        r"\frac{\sqrt2}{2}+\frac{\sqrt2}{2}i ; \operatorname{cis}\frac{\pi}{4} ; "
        r"\mathrm{cis}(45^\circ) ; \frac{1+i}{\sqrt2}"
    ),
}
WRONG = {
    r"\begin{pmatrix}1\\2\end{pmatrix}": (
        r"2\mathbf{v}=\begin{pmatrix}1\\2\end{pmatrix} ; "
        r"\mathbf{v} = \begin{pmatrix}2\\1\end{pmatrix} ; \begin{pmatrix}1&2\end{pmatrix} ; "
        r"-\begin{pmatrix}1\\2\end{pmatrix} ; -\vec{v}=\begin{pmatrix}1\\2\end{pmatrix}"
    ),
    r"\frac{9}{25}": (
        r"\mathbb{P}(A)=\frac{9}{26} ; 2x=\frac{9}{25} ; x^2=\frac{9}{25} ; 2P(A)=\frac{9}{25} ; "
        r"\sqrt{x}=\frac{9}{25} ; 1-\Pr(A)=\frac{9}{25} ; 1-P(A)=\frac{9}{25} ; "
        r"2\text{Area}=\frac{9}{25} ; -\text{Area}=\frac{9}{25}"
    ),
    "1/2": (r"\frac12 \text{ or } 0.6 ; \frac12 \text{ or } 5 ; 0.5 \text{ (or } \frac13)"),
    "25": (
        r"25万 ; 25以上 ; "
        r"25\text{以上} ; 25\text{万} ; 25余 ; 25倍 ; 25億 ; 25만 ; 25 이상 ; 25左右 ; 25多 ; "
        r"25\text{或}26 ; 25分の1 ; 25 \Rightarrow 26 ; m=25, n=5, m+n=30 ; 25 \implies 24 ; "
        r"24 \to 25 ; 25 \to 24 ; "
        r"m=25, n=5 ; x=25, y=30 ; (m,n)=(25,5) ; \textcolor{blue}{24} ; \phantom{25}24 ; "
        r"\cancel{25} ; \sout{25} ; \phantom{25} ; \colorbox{25}{24} ; \not{25}"
    ),
    "1,2,3": ("1、2"),
    r"[2,\infty)": ("x≦2 ; x>2"),
    "42": ("“43”"),
    r"\pi/2": ("𝜋/3"),
    "30": ("30^0 ; 31º ; 30^{10}"),
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}": (
        r"\begin{pmatrix}1&2\\3&5\end{pmatrix} ; \begin{pmatrix}1&3\\2&4\end{pmatrix}"
    ),
    r"(-\infty,2)\cup(3,\infty)": (r"]-\infty;2] \cup ]3;+\infty[ ; x\in[2,3] ; x\notin(2,3)"),
    r"2\sqrt3": (r"2\sqrt(2) ; \sqrt(6)"),
    "1000000": (r"\num{100000} ; 1_000_00 ; 1_000"),
    "AB_{16}": (r"AB_{\text{twelve}} ; AC_{16}"),
    r"(-\infty,a)\cup(b,\infty)": (r"(-\infty,b)\cup(a,\infty)"),
    r"1-\frac{1}{\mathrm{e}}": (r"1-e ; \frac1e"),
    "f(x)=cx": ("f(x)=c+x"),
    "2x": ("P(x)=3x"),
    r"\pm 7": ("7 ; -7 ; +7"),
    "120": ("{}_{10}C_2 ; C(10,4)"),
    r"e^{i\pi/4}": (r"\operatorname{cis} 46^\circ ; \operatorname{cis} 45"),
    r"2\pi k, k\in\mathbb{Z}": (r"\pi n, n\in\mathbb{Z} ; 2\pi"),
}


@pytest.mark.parametrize(("reference", "answer", "right"), cases(RIGHT, WRONG))
def test_boxed_answers(reference: str, answer: str, right: bool) -> None:
    assert boxed(answer, reference).correct is right
