// Made by "make dashboard" of what is in js/ and vendor/: change it there.

// node/dashboard/static/vendor/htm-preact.js
var e;
var n;
var _;
var t;
var o;
var r;
var u;
var l = {};
var i = [];
var c = /acit|ex(?:s|g|n|p|$)|rph|grid|ows|mnc|ntw|ine[ch]|zoo|^ord|itera/i;
function s(e2, n2) {
  for (var _2 in n2) e2[_2] = n2[_2];
  return e2;
}
function f(e2) {
  var n2 = e2.parentNode;
  n2 && n2.removeChild(e2);
}
function a(n2, _2, t2) {
  var o2, r2, u2, l2 = {};
  for (u2 in _2) "key" == u2 ? o2 = _2[u2] : "ref" == u2 ? r2 = _2[u2] : l2[u2] = _2[u2];
  if (arguments.length > 2 && (l2.children = arguments.length > 3 ? e.call(arguments, 2) : t2), "function" == typeof n2 && null != n2.defaultProps) for (u2 in n2.defaultProps) void 0 === l2[u2] && (l2[u2] = n2.defaultProps[u2]);
  return p(n2, l2, o2, r2, null);
}
function p(e2, t2, o2, r2, u2) {
  var l2 = { type: e2, props: t2, key: o2, ref: r2, __k: null, __: null, __b: 0, __e: null, __d: void 0, __c: null, __h: null, constructor: void 0, __v: null == u2 ? ++_ : u2 };
  return null != n.vnode && n.vnode(l2), l2;
}
function h(e2) {
  return e2.children;
}
function d(e2, n2) {
  this.props = e2, this.context = n2;
}
function v(e2, n2) {
  if (null == n2) return e2.__ ? v(e2.__, e2.__.__k.indexOf(e2) + 1) : null;
  for (var _2; n2 < e2.__k.length; n2++) if (null != (_2 = e2.__k[n2]) && null != _2.__e) return _2.__e;
  return "function" == typeof e2.type ? v(e2) : null;
}
function y(e2) {
  var n2, _2;
  if (null != (e2 = e2.__) && null != e2.__c) {
    for (e2.__e = e2.__c.base = null, n2 = 0; n2 < e2.__k.length; n2++) if (null != (_2 = e2.__k[n2]) && null != _2.__e) {
      e2.__e = e2.__c.base = _2.__e;
      break;
    }
    return y(e2);
  }
}
function m(e2) {
  (!e2.__d && (e2.__d = true) && t.push(e2) && !g.__r++ || r !== n.debounceRendering) && ((r = n.debounceRendering) || o)(g);
}
function g() {
  for (var e2; g.__r = t.length; ) e2 = t.sort(function(e3, n2) {
    return e3.__v.__b - n2.__v.__b;
  }), t = [], e2.some(function(e3) {
    var n2, _2, t2, o2, r2, u2;
    e3.__d && (r2 = (o2 = (n2 = e3).__v).__e, (u2 = n2.__P) && (_2 = [], (t2 = s({}, o2)).__v = o2.__v + 1, P(u2, o2, t2, n2.__n, void 0 !== u2.ownerSVGElement, null != o2.__h ? [r2] : null, _2, null == r2 ? v(o2) : r2, o2.__h), D(_2, o2), o2.__e != r2 && y(o2)));
  });
}
function k(e2, n2, _2, t2, o2, r2, u2, c2, s2, f2) {
  var a2, d2, y2, m2, g2, k2, x2, H2 = t2 && t2.__k || i, E2 = H2.length;
  for (_2.__k = [], a2 = 0; a2 < n2.length; a2++) if (null != (m2 = _2.__k[a2] = null == (m2 = n2[a2]) || "boolean" == typeof m2 ? null : "string" == typeof m2 || "number" == typeof m2 || "bigint" == typeof m2 ? p(null, m2, null, null, m2) : Array.isArray(m2) ? p(h, { children: m2 }, null, null, null) : m2.__b > 0 ? p(m2.type, m2.props, m2.key, null, m2.__v) : m2)) {
    if (m2.__ = _2, m2.__b = _2.__b + 1, null === (y2 = H2[a2]) || y2 && m2.key == y2.key && m2.type === y2.type) H2[a2] = void 0;
    else for (d2 = 0; d2 < E2; d2++) {
      if ((y2 = H2[d2]) && m2.key == y2.key && m2.type === y2.type) {
        H2[d2] = void 0;
        break;
      }
      y2 = null;
    }
    P(e2, m2, y2 = y2 || l, o2, r2, u2, c2, s2, f2), g2 = m2.__e, (d2 = m2.ref) && y2.ref != d2 && (x2 || (x2 = []), y2.ref && x2.push(y2.ref, null, m2), x2.push(d2, m2.__c || g2, m2)), null != g2 ? (null == k2 && (k2 = g2), "function" == typeof m2.type && null != m2.__k && m2.__k === y2.__k ? m2.__d = s2 = b(m2, s2, e2) : s2 = C(e2, m2, y2, H2, g2, s2), f2 || "option" !== _2.type ? "function" == typeof _2.type && (_2.__d = s2) : e2.value = "") : s2 && y2.__e == s2 && s2.parentNode != e2 && (s2 = v(y2));
  }
  for (_2.__e = k2, a2 = E2; a2--; ) null != H2[a2] && ("function" == typeof _2.type && null != H2[a2].__e && H2[a2].__e == _2.__d && (_2.__d = v(t2, a2 + 1)), U(H2[a2], H2[a2]));
  if (x2) for (a2 = 0; a2 < x2.length; a2++) T(x2[a2], x2[++a2], x2[++a2]);
}
function b(e2, n2, _2) {
  var t2, o2;
  for (t2 = 0; t2 < e2.__k.length; t2++) (o2 = e2.__k[t2]) && (o2.__ = e2, n2 = "function" == typeof o2.type ? b(o2, n2, _2) : C(_2, o2, o2, e2.__k, o2.__e, n2));
  return n2;
}
function C(e2, n2, _2, t2, o2, r2) {
  var u2, l2, i2;
  if (void 0 !== n2.__d) u2 = n2.__d, n2.__d = void 0;
  else if (null == _2 || o2 != r2 || null == o2.parentNode) e: if (null == r2 || r2.parentNode !== e2) e2.appendChild(o2), u2 = null;
  else {
    for (l2 = r2, i2 = 0; (l2 = l2.nextSibling) && i2 < t2.length; i2 += 2) if (l2 == o2) break e;
    e2.insertBefore(o2, r2), u2 = r2;
  }
  return void 0 !== u2 ? u2 : o2.nextSibling;
}
function x(e2, n2, _2) {
  "-" === n2[0] ? e2.setProperty(n2, _2) : e2[n2] = null == _2 ? "" : "number" != typeof _2 || c.test(n2) ? _2 : _2 + "px";
}
function H(e2, n2, _2, t2, o2) {
  var r2;
  e: if ("style" === n2) if ("string" == typeof _2) e2.style.cssText = _2;
  else {
    if ("string" == typeof t2 && (e2.style.cssText = t2 = ""), t2) for (n2 in t2) _2 && n2 in _2 || x(e2.style, n2, "");
    if (_2) for (n2 in _2) t2 && _2[n2] === t2[n2] || x(e2.style, n2, _2[n2]);
  }
  else if ("o" === n2[0] && "n" === n2[1]) r2 = n2 !== (n2 = n2.replace(/Capture$/, "")), n2 = n2.toLowerCase() in e2 ? n2.toLowerCase().slice(2) : n2.slice(2), e2.l || (e2.l = {}), e2.l[n2 + r2] = _2, _2 ? t2 || e2.addEventListener(n2, r2 ? S : E, r2) : e2.removeEventListener(n2, r2 ? S : E, r2);
  else if ("dangerouslySetInnerHTML" !== n2) {
    if (o2) n2 = n2.replace(/xlink[H:h]/, "h").replace(/sName$/, "s");
    else if ("href" !== n2 && "list" !== n2 && "form" !== n2 && "tabIndex" !== n2 && "download" !== n2 && n2 in e2) try {
      e2[n2] = null == _2 ? "" : _2;
      break e;
    } catch (e3) {
    }
    "function" == typeof _2 || (null != _2 && (false !== _2 || "a" === n2[0] && "r" === n2[1]) ? e2.setAttribute(n2, _2) : e2.removeAttribute(n2));
  }
}
function E(e2) {
  this.l[e2.type + false](n.event ? n.event(e2) : e2);
}
function S(e2) {
  this.l[e2.type + true](n.event ? n.event(e2) : e2);
}
function P(e2, _2, t2, o2, r2, u2, l2, i2, c2) {
  var f2, a2, p2, v2, y2, m2, g2, b2, C2, x2, H2, E2 = _2.type;
  if (void 0 !== _2.constructor) return null;
  null != t2.__h && (c2 = t2.__h, i2 = _2.__e = t2.__e, _2.__h = null, u2 = [i2]), (f2 = n.__b) && f2(_2);
  try {
    e: if ("function" == typeof E2) {
      if (b2 = _2.props, C2 = (f2 = E2.contextType) && o2[f2.__c], x2 = f2 ? C2 ? C2.props.value : f2.__ : o2, t2.__c ? g2 = (a2 = _2.__c = t2.__c).__ = a2.__E : ("prototype" in E2 && E2.prototype.render ? _2.__c = a2 = new E2(b2, x2) : (_2.__c = a2 = new d(b2, x2), a2.constructor = E2, a2.render = A), C2 && C2.sub(a2), a2.props = b2, a2.state || (a2.state = {}), a2.context = x2, a2.__n = o2, p2 = a2.__d = true, a2.__h = []), null == a2.__s && (a2.__s = a2.state), null != E2.getDerivedStateFromProps && (a2.__s == a2.state && (a2.__s = s({}, a2.__s)), s(a2.__s, E2.getDerivedStateFromProps(b2, a2.__s))), v2 = a2.props, y2 = a2.state, p2) null == E2.getDerivedStateFromProps && null != a2.componentWillMount && a2.componentWillMount(), null != a2.componentDidMount && a2.__h.push(a2.componentDidMount);
      else {
        if (null == E2.getDerivedStateFromProps && b2 !== v2 && null != a2.componentWillReceiveProps && a2.componentWillReceiveProps(b2, x2), !a2.__e && null != a2.shouldComponentUpdate && false === a2.shouldComponentUpdate(b2, a2.__s, x2) || _2.__v === t2.__v) {
          a2.props = b2, a2.state = a2.__s, _2.__v !== t2.__v && (a2.__d = false), a2.__v = _2, _2.__e = t2.__e, _2.__k = t2.__k, _2.__k.forEach(function(e3) {
            e3 && (e3.__ = _2);
          }), a2.__h.length && l2.push(a2);
          break e;
        }
        null != a2.componentWillUpdate && a2.componentWillUpdate(b2, a2.__s, x2), null != a2.componentDidUpdate && a2.__h.push(function() {
          a2.componentDidUpdate(v2, y2, m2);
        });
      }
      a2.context = x2, a2.props = b2, a2.state = a2.__s, (f2 = n.__r) && f2(_2), a2.__d = false, a2.__v = _2, a2.__P = e2, f2 = a2.render(a2.props, a2.state, a2.context), a2.state = a2.__s, null != a2.getChildContext && (o2 = s(s({}, o2), a2.getChildContext())), p2 || null == a2.getSnapshotBeforeUpdate || (m2 = a2.getSnapshotBeforeUpdate(v2, y2)), H2 = null != f2 && f2.type === h && null == f2.key ? f2.props.children : f2, k(e2, Array.isArray(H2) ? H2 : [H2], _2, t2, o2, r2, u2, l2, i2, c2), a2.base = _2.__e, _2.__h = null, a2.__h.length && l2.push(a2), g2 && (a2.__E = a2.__ = null), a2.__e = false;
    } else null == u2 && _2.__v === t2.__v ? (_2.__k = t2.__k, _2.__e = t2.__e) : _2.__e = w(t2.__e, _2, t2, o2, r2, u2, l2, c2);
    (f2 = n.diffed) && f2(_2);
  } catch (e3) {
    _2.__v = null, (c2 || null != u2) && (_2.__e = i2, _2.__h = !!c2, u2[u2.indexOf(i2)] = null), n.__e(e3, _2, t2);
  }
}
function D(e2, _2) {
  n.__c && n.__c(_2, e2), e2.some(function(_3) {
    try {
      e2 = _3.__h, _3.__h = [], e2.some(function(e3) {
        e3.call(_3);
      });
    } catch (e3) {
      n.__e(e3, _3.__v);
    }
  });
}
function w(n2, _2, t2, o2, r2, u2, i2, c2) {
  var s2, a2, p2, h2 = t2.props, d2 = _2.props, y2 = _2.type, m2 = 0;
  if ("svg" === y2 && (r2 = true), null != u2) {
    for (; m2 < u2.length; m2++) if ((s2 = u2[m2]) && (s2 === n2 || (y2 ? s2.localName == y2 : 3 == s2.nodeType))) {
      n2 = s2, u2[m2] = null;
      break;
    }
  }
  if (null == n2) {
    if (null === y2) return document.createTextNode(d2);
    n2 = r2 ? document.createElementNS("http://www.w3.org/2000/svg", y2) : document.createElement(y2, d2.is && d2), u2 = null, c2 = false;
  }
  if (null === y2) h2 === d2 || c2 && n2.data === d2 || (n2.data = d2);
  else {
    if (u2 = u2 && e.call(n2.childNodes), a2 = (h2 = t2.props || l).dangerouslySetInnerHTML, p2 = d2.dangerouslySetInnerHTML, !c2) {
      if (null != u2) for (h2 = {}, m2 = 0; m2 < n2.attributes.length; m2++) h2[n2.attributes[m2].name] = n2.attributes[m2].value;
      (p2 || a2) && (p2 && (a2 && p2.__html == a2.__html || p2.__html === n2.innerHTML) || (n2.innerHTML = p2 && p2.__html || ""));
    }
    if ((function(e2, n3, _3, t3, o3) {
      var r3;
      for (r3 in _3) "children" === r3 || "key" === r3 || r3 in n3 || H(e2, r3, null, _3[r3], t3);
      for (r3 in n3) o3 && "function" != typeof n3[r3] || "children" === r3 || "key" === r3 || "value" === r3 || "checked" === r3 || _3[r3] === n3[r3] || H(e2, r3, n3[r3], _3[r3], t3);
    })(n2, d2, h2, r2, c2), p2) _2.__k = [];
    else if (m2 = _2.props.children, k(n2, Array.isArray(m2) ? m2 : [m2], _2, t2, o2, r2 && "foreignObject" !== y2, u2, i2, u2 ? u2[0] : t2.__k && v(t2, 0), c2), null != u2) for (m2 = u2.length; m2--; ) null != u2[m2] && f(u2[m2]);
    c2 || ("value" in d2 && void 0 !== (m2 = d2.value) && (m2 !== n2.value || "progress" === y2 && !m2) && H(n2, "value", m2, h2.value, false), "checked" in d2 && void 0 !== (m2 = d2.checked) && m2 !== n2.checked && H(n2, "checked", m2, h2.checked, false));
  }
  return n2;
}
function T(e2, _2, t2) {
  try {
    "function" == typeof e2 ? e2(_2) : e2.current = _2;
  } catch (e3) {
    n.__e(e3, t2);
  }
}
function U(e2, _2, t2) {
  var o2, r2;
  if (n.unmount && n.unmount(e2), (o2 = e2.ref) && (o2.current && o2.current !== e2.__e || T(o2, null, _2)), null != (o2 = e2.__c)) {
    if (o2.componentWillUnmount) try {
      o2.componentWillUnmount();
    } catch (e3) {
      n.__e(e3, _2);
    }
    o2.base = o2.__P = null;
  }
  if (o2 = e2.__k) for (r2 = 0; r2 < o2.length; r2++) o2[r2] && U(o2[r2], _2, "function" != typeof e2.type);
  t2 || null == e2.__e || f(e2.__e), e2.__e = e2.__d = void 0;
}
function A(e2, n2, _2) {
  return this.constructor(e2, _2);
}
function M(_2, t2, o2) {
  var r2, u2, i2;
  n.__ && n.__(_2, t2), u2 = (r2 = "function" == typeof o2) ? null : o2 && o2.__k || t2.__k, i2 = [], P(t2, _2 = (!r2 && o2 || t2).__k = a(h, null, [_2]), u2 || l, l, void 0 !== t2.ownerSVGElement, !r2 && o2 ? [o2] : u2 ? null : t2.firstChild ? e.call(t2.childNodes) : null, i2, !r2 && o2 ? o2 : u2 ? u2.__e : t2.firstChild, r2), D(i2, _2);
}
e = i.slice, n = { __e: function(e2, n2) {
  for (var _2, t2, o2; n2 = n2.__; ) if ((_2 = n2.__c) && !_2.__) try {
    if ((t2 = _2.constructor) && null != t2.getDerivedStateFromError && (_2.setState(t2.getDerivedStateFromError(e2)), o2 = _2.__d), null != _2.componentDidCatch && (_2.componentDidCatch(e2), o2 = _2.__d), o2) return _2.__E = _2;
  } catch (n3) {
    e2 = n3;
  }
  throw e2;
} }, _ = 0, d.prototype.setState = function(e2, n2) {
  var _2;
  _2 = null != this.__s && this.__s !== this.state ? this.__s : this.__s = s({}, this.state), "function" == typeof e2 && (e2 = e2(s({}, _2), this.props)), e2 && s(_2, e2), null != e2 && this.__v && (n2 && this.__h.push(n2), m(this));
}, d.prototype.forceUpdate = function(e2) {
  this.__v && (this.__e = true, e2 && this.__h.push(e2), m(this));
}, d.prototype.render = h, t = [], o = "function" == typeof Promise ? Promise.prototype.then.bind(Promise.resolve()) : setTimeout, g.__r = 0, u = 0;
var L;
var N;
var W;
var R = 0;
var I = [];
var O = n.__b;
var V = n.__r;
var q = n.diffed;
var B = n.__c;
var $ = n.unmount;
function j(e2, _2) {
  n.__h && n.__h(N, e2, R || _2), R = 0;
  var t2 = N.__H || (N.__H = { __: [], __h: [] });
  return e2 >= t2.__.length && t2.__.push({}), t2.__[e2];
}
function G(e2) {
  return R = 1, z(ie, e2);
}
function z(e2, n2, _2) {
  var t2 = j(L++, 2);
  return t2.t = e2, t2.__c || (t2.__ = [_2 ? _2(n2) : ie(void 0, n2), function(e3) {
    var n3 = t2.t(t2.__[0], e3);
    t2.__[0] !== n3 && (t2.__ = [n3, t2.__[1]], t2.__c.setState({}));
  }], t2.__c = N), t2.__;
}
function J(e2, _2) {
  var t2 = j(L++, 3);
  !n.__s && le(t2.__H, _2) && (t2.__ = e2, t2.__H = _2, N.__H.__h.push(t2));
}
function Q(e2) {
  return R = 5, Y(function() {
    return { current: e2 };
  }, []);
}
function Y(e2, n2) {
  var _2 = j(L++, 7);
  return le(_2.__H, n2) && (_2.__ = e2(), _2.__H = n2, _2.__h = e2), _2.__;
}
function Z(e2, n2) {
  return R = 8, Y(function() {
    return e2;
  }, n2);
}
function te() {
  I.forEach(function(e2) {
    if (e2.__P) try {
      e2.__H.__h.forEach(re), e2.__H.__h.forEach(ue), e2.__H.__h = [];
    } catch (_2) {
      e2.__H.__h = [], n.__e(_2, e2.__v);
    }
  }), I = [];
}
n.__b = function(e2) {
  N = null, O && O(e2);
}, n.__r = function(e2) {
  V && V(e2), L = 0;
  var n2 = (N = e2.__c).__H;
  n2 && (n2.__h.forEach(re), n2.__h.forEach(ue), n2.__h = []);
}, n.diffed = function(e2) {
  q && q(e2);
  var _2 = e2.__c;
  _2 && _2.__H && _2.__H.__h.length && (1 !== I.push(_2) && W === n.requestAnimationFrame || ((W = n.requestAnimationFrame) || function(e3) {
    var n2, _3 = function() {
      clearTimeout(t2), oe && cancelAnimationFrame(n2), setTimeout(e3);
    }, t2 = setTimeout(_3, 100);
    oe && (n2 = requestAnimationFrame(_3));
  })(te)), N = void 0;
}, n.__c = function(e2, _2) {
  _2.some(function(e3) {
    try {
      e3.__h.forEach(re), e3.__h = e3.__h.filter(function(e4) {
        return !e4.__ || ue(e4);
      });
    } catch (t2) {
      _2.some(function(e4) {
        e4.__h && (e4.__h = []);
      }), _2 = [], n.__e(t2, e3.__v);
    }
  }), B && B(e2, _2);
}, n.unmount = function(e2) {
  $ && $(e2);
  var _2 = e2.__c;
  if (_2 && _2.__H) try {
    _2.__H.__.forEach(re);
  } catch (e3) {
    n.__e(e3, _2.__v);
  }
};
var oe = "function" == typeof requestAnimationFrame;
function re(e2) {
  var n2 = N;
  "function" == typeof e2.__c && e2.__c(), N = n2;
}
function ue(e2) {
  var n2 = N;
  e2.__c = e2.__(), N = n2;
}
function le(e2, n2) {
  return !e2 || e2.length !== n2.length || n2.some(function(n3, _2) {
    return n3 !== e2[_2];
  });
}
function ie(e2, n2) {
  return "function" == typeof n2 ? n2(e2) : n2;
}
var ce = function(e2, n2, _2, t2) {
  var o2;
  n2[0] = 0;
  for (var r2 = 1; r2 < n2.length; r2++) {
    var u2 = n2[r2++], l2 = n2[r2] ? (n2[0] |= u2 ? 1 : 2, _2[n2[r2++]]) : n2[++r2];
    3 === u2 ? t2[0] = l2 : 4 === u2 ? t2[1] = Object.assign(t2[1] || {}, l2) : 5 === u2 ? (t2[1] = t2[1] || {})[n2[++r2]] = l2 : 6 === u2 ? t2[1][n2[++r2]] += l2 + "" : u2 ? (o2 = e2.apply(l2, ce(e2, l2, _2, ["", null])), t2.push(o2), l2[0] ? n2[0] |= 2 : (n2[r2 - 2] = 0, n2[r2] = o2)) : t2.push(l2);
  }
  return t2;
};
var se = /* @__PURE__ */ new Map();
var fe = function(e2) {
  var n2 = se.get(this);
  return n2 || (n2 = /* @__PURE__ */ new Map(), se.set(this, n2)), (n2 = ce(this, n2.get(e2) || (n2.set(e2, n2 = (function(e3) {
    for (var n3, _2, t2 = 1, o2 = "", r2 = "", u2 = [0], l2 = function(e4) {
      1 === t2 && (e4 || (o2 = o2.replace(/^\s*\n\s*|\s*\n\s*$/g, ""))) ? u2.push(0, e4, o2) : 3 === t2 && (e4 || o2) ? (u2.push(3, e4, o2), t2 = 2) : 2 === t2 && "..." === o2 && e4 ? u2.push(4, e4, 0) : 2 === t2 && o2 && !e4 ? u2.push(5, 0, true, o2) : t2 >= 5 && ((o2 || !e4 && 5 === t2) && (u2.push(t2, 0, o2, _2), t2 = 6), e4 && (u2.push(t2, e4, 0, _2), t2 = 6)), o2 = "";
    }, i2 = 0; i2 < e3.length; i2++) {
      i2 && (1 === t2 && l2(), l2(i2));
      for (var c2 = 0; c2 < e3[i2].length; c2++) n3 = e3[i2][c2], 1 === t2 ? "<" === n3 ? (l2(), u2 = [u2], t2 = 3) : o2 += n3 : 4 === t2 ? "--" === o2 && ">" === n3 ? (t2 = 1, o2 = "") : o2 = n3 + o2[0] : r2 ? n3 === r2 ? r2 = "" : o2 += n3 : '"' === n3 || "'" === n3 ? r2 = n3 : ">" === n3 ? (l2(), t2 = 1) : t2 && ("=" === n3 ? (t2 = 5, _2 = o2, o2 = "") : "/" === n3 && (t2 < 5 || ">" === e3[i2][c2 + 1]) ? (l2(), 3 === t2 && (u2 = u2[0]), t2 = u2, (u2 = u2[0]).push(2, 0, t2), t2 = 0) : " " === n3 || "	" === n3 || "\n" === n3 || "\r" === n3 ? (l2(), t2 = 2) : o2 += n3), 3 === t2 && "!--" === o2 && (t2 = 4, u2 = u2[0]);
    }
    return l2(), u2;
  })(e2)), n2), arguments, [])).length > 1 ? n2 : n2[0];
}.bind(a);

// node/dashboard/static/js/lib.js
function store(value) {
  const watchers2 = /* @__PURE__ */ new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const watch of [...watchers2]) watch(value);
    },
    subscribe(watch) {
      watchers2.add(watch);
      return () => watchers2.delete(watch);
    }
  };
}
function useStore(from) {
  const [value, set] = G(from.get());
  J(() => {
    set(from.get());
    return from.subscribe(set);
  }, [from]);
  return value;
}

// node/dashboard/static/js/live.js
var streaming = store("wait");
var feed = store([]);
var FEED_LENGTH = 30;
var AGAIN_MS = 5e3;
var POLL_MS = 5e3;
var watchers = /* @__PURE__ */ new Set();
var source = null;
var count = 0;
var again = 0;
function onEvent(watch) {
  watchers.add(watch);
  return () => watchers.delete(watch);
}
function tell(event) {
  for (const watch of [...watchers]) watch(event);
}
function heard(message) {
  let event;
  try {
    event = JSON.parse(message.data);
  } catch {
    return;
  }
  if (!event || typeof event.kind !== "string") return;
  event.key = ++count;
  feed.set([event, ...feed.get()].slice(0, FEED_LENGTH));
  tell(event);
}
function connect() {
  clearTimeout(again);
  if (source) source.close();
  let opened = false;
  source = new EventSource("/api/v1/events");
  source.onopen = () => {
    streaming.set("on");
    tell({ resync: true });
    opened = true;
  };
  source.onmessage = heard;
  source.addEventListener("envelope", heard);
  source.addEventListener("reset", () => tell({ resync: true }));
  source.onerror = () => {
    streaming.set(opened && source.readyState !== EventSource.CLOSED ? "wait" : "off");
    if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, AGAIN_MS);
  };
}
function disconnect() {
  clearTimeout(again);
  if (source) source.close();
  source = null;
  streaming.set("off");
}
setInterval(() => {
  if (streaming.get() === "off" && source && document.visibilityState === "visible") tell({ resync: true });
}, POLL_MS);

// node/dashboard/static/js/api.js
var TIMEOUT_MS = 15e3;
var LIVE_PAUSE_MS = 350;
var RETRY_MS = 2e3;
var link = store({ state: "ok", problem: null });
var Problem = class extends Error {
  constructor(status2, body) {
    super(body.detail || body.title || "The daemon refused.");
    this.status = status2;
    this.code = body.code || "";
    this.fix = body.fix || "";
  }
};
function query(params) {
  const found = Object.entries(params || {}).filter(([, value]) => value !== void 0 && value !== null && value !== "");
  return found.length ? "?" + new URLSearchParams(found.map(([k2, v2]) => [k2, String(v2)])) : "";
}
function early(path) {
  if (path !== "dashboard/overview" || !window.early) return null;
  const found = window.early;
  window.early = null;
  return found;
}
async function read(path, params) {
  let response;
  try {
    response = await (early(path) || fetch("/api/v1/" + path + query(params), {
      headers: { accept: "application/json" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS)
    }));
  } catch {
    const gone = new Problem(0, {
      code: "daemon-down",
      detail: "The daemon does not answer.",
      fix: "swarmd up"
    });
    link.set({ state: "down", problem: gone });
    throw gone;
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const problem = new Problem(response.status, body);
    if (response.status === 401) link.set({ state: "locked", problem });
    throw problem;
  }
  if (link.get().state !== "ok") link.set({ state: "ok", problem: null });
  return body;
}
var ahead = /* @__PURE__ */ new Map();
async function readAhead(path, waitMs) {
  const asked = { answer: read(path), data: null };
  ahead.set(path, asked);
  const here = asked.answer.then(
    (data) => asked.data = data,
    () => {
    }
    // who reads it sees that it failed
  );
  await Promise.race([here, new Promise((late) => setTimeout(late, waitMs))]);
}
function take(key) {
  const asked = ahead.get(key);
  ahead.delete(key);
  return asked && asked.answer;
}
function useRead(path, params, { live, every } = {}) {
  const key = path === null ? null : path + query(params);
  const [state, setState] = G(() => {
    const data = ahead.get(key)?.data || null;
    return { key: data && key, data, problem: null };
  });
  const latest = Q({});
  latest.current = { key, path, params, live };
  const work = Q({ busy: false, again: false, last: 0, timer: 0 });
  const load = Z(async () => {
    const own = work.current;
    if (own.busy) {
      own.again = true;
      return;
    }
    clearTimeout(own.timer);
    own.timer = 0;
    const asked = latest.current;
    if (asked.key === null || own.ended) return;
    own.busy = true;
    own.last = performance.now();
    try {
      const data = await (take(asked.key) || read(asked.path, asked.params));
      if (latest.current.key === asked.key) {
        setState((before) => before.data === data ? before : { key: asked.key, data, problem: null });
      }
    } catch (problem) {
      if (latest.current.key === asked.key) {
        setState((before) => ({ key: asked.key, data: before.key === asked.key ? before.data : null, problem }));
      }
      if (problem.status === 0 && !own.ended) own.timer = setTimeout(load, RETRY_MS);
    }
    own.busy = false;
    if (own.again) {
      own.again = false;
      soon();
    }
  }, []);
  const soon = Z(() => {
    const own = work.current;
    if (own.timer || own.ended) return;
    const wait = Math.max(0, own.last + LIVE_PAUSE_MS - performance.now());
    own.timer = setTimeout(load, wait);
  }, []);
  J(() => {
    work.current.ended = false;
    load();
  }, [key]);
  J(() => {
    const stop = onEvent((event) => {
      const wanted = latest.current.live;
      if (event.resync || wanted && wanted(event)) soon();
    });
    const clock = every ? setInterval(() => document.visibilityState === "visible" && soon(), every) : 0;
    return () => {
      stop();
      clearInterval(clock);
      clearTimeout(work.current.timer);
      work.current.ended = true;
    };
  }, []);
  const fits = state.key === key;
  return {
    data: state.data,
    problem: fits ? state.problem : null,
    loading: key !== null && !fits,
    reload: load
  };
}

// node/dashboard/static/js/icons.js
var PATHS = {
  overview: "M3 3.5h5.5v7H3zM11.5 3.5H17v4h-5.5zM11.5 10.5H17v6h-5.5zM3 13.5h5.5v3H3z",
  needs: "M4 5.5h12M4 10h12M4 14.5h8",
  escrow: "M4.5 9h11v7.5h-11zM7 9V6.5a3 3 0 0 1 6 0V9M10 12v1.8",
  peers: "M10 6.2v7.6M6.2 14.4 9 7.8M13.8 14.4 11 7.8M6.8 16h6.4M10 6.2a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6M5 17.8A1.8 1.8 0 1 0 5 14.200a1.8 1.8 0 0 0 0 3.6M15 17.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6",
  agents: "M5 7.500h10v8H5zM10 7.500V4M8 11v1.500M12 11v1.500M2.800 10v3M17.200 10v3",
  policy: "M10 2.800 16 5v4.800c0 3.700-2.500 6.200-6 7.400-3.500-1.200-6-3.700-6-7.400V5zM7.500 10l1.800 1.800 3.300-3.600",
  ledger: "M5 3h10v14.200l-2.500-1.500L10 17.200l-2.500-1.500L5 17.200zM7.800 7h4.400M7.800 10.300h4.400",
  review: "M4 3.500h12v9.500h-4l-2 3-2-3H4zM10 6v2.800M10 10.800v.1",
  analytics: "M3.500 16.500h13M5.500 16.500v-5M9 16.500v-9M12.500 16.500v-6.500M16 16.500V4",
  sun: "M10 13.200a3.200 3.200 0 1 0 0-6.400 3.200 3.200 0 0 0 0 6.400M10 2.500v1.600M10 15.900v1.600M2.500 10h1.600M15.900 10h1.600M4.700 4.700l1.100 1.100M14.200 14.200l1.100 1.100M4.700 15.300l1.100-1.100M14.200 5.800l1.100-1.100",
  moon: "M16.500 11.600A6.800 6.800 0 0 1 8.400 3.500a6.800 6.800 0 1 0 8.100 8.100z",
  keys: "M2.800 5.500h14.400v9H2.800zM5.500 8.300h.1M8.500 8.300h.1M11.500 8.300h.1M14.500 8.300h.1M6.500 11.700h7",
  search: "M9 14.500a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11M13 13l3.800 3.800",
  copy: "M7.500 7.500h8.500v8.500H7.500zM4 12.500V4h8.500",
  check: "M4.500 10.500l3.600 3.600 7.400-8",
  cross: "M5.500 5.500l9 9M14.500 5.500l-9 9",
  menu: "M3.500 6h13M3.500 10h13M3.500 14h13",
  back: "M12 5l-5 5 5 5",
  next: "M8 5l5 5-5 5",
  warn: "M10 3.300 17.500 16.500H2.500zM10 8.500v3.500M10 14v.1",
  lock: "M4.500 9h11v7.500h-11zM7 9V6.500a3 3 0 0 1 6 0V9",
  plug: "M7 3v4M13 3v4M5 7h10v3a5 5 0 0 1-10 0zM10 15v2.500",
  spark: "M3 11h3l2-5.500 3.500 9L14 8l1 3h2"
};
function Icon({ name, size = 18 }) {
  return fe`<svg viewBox="0 0 20 20" width=${size} height=${size} fill="none" stroke="currentColor" stroke-width="1.5"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${PATHS[name] || ""} /></svg>`;
}
function Mark({ size = 28 }) {
  return fe`<svg viewBox="0 0 32 32" width=${size} height=${size} aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" fill="#5b5bd6" />
    <path d="M10 11l6-3 6 3M10 11l6 10 6-10M16 8v13" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" opacity=".75" />
    <circle cx="16" cy="8" r="2.6" fill="#fff" /><circle cx="10" cy="11.5" r="2.6" fill="#fff" />
    <circle cx="22" cy="11.5" r="2.6" fill="#fff" /><circle cx="16" cy="22" r="3.2" fill="#fff" /></svg>`;
}

// node/dashboard/static/js/format.js
var whole = new Intl.NumberFormat("en");
var count2 = (n2) => n2 === null || n2 === void 0 ? "–" : whole.format(n2);
function usdc(text) {
  const found = /^([+-]?)(\d+)(?:\.(\d+))?$/.exec(String(text ?? ""));
  if (!found) return String(text ?? "–") || "–";
  const [, sign, units, rest = ""] = found;
  return (sign === "-" ? "−" : "") + whole.format(BigInt(units)) + "." + rest.padEnd(2, "0");
}
function short(id) {
  const text = String(id ?? "").replace(/^did:key:/, "");
  return text.length > 16 ? text.slice(0, 8) + "…" + text.slice(-4) : text;
}
function bytes(n2) {
  if (n2 === null || n2 === void 0) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (n2 >= 1e3 && at < units.length - 1) {
    n2 /= 1e3;
    at += 1;
  }
  return (at && n2 < 100 ? n2.toFixed(1) : Math.round(n2)) + " " + units[at];
}
function ms(value) {
  if (value === null || value === void 0) return "–";
  if (value < 1) return "<1 ms";
  if (value < 1e3) return Math.round(value) + " ms";
  if (value < 6e4) return (value / 1e3).toFixed(value < 1e4 ? 2 : 1) + " s";
  return span(value / 1e3);
}
function span(seconds) {
  const steps = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [Infinity, "d", 86400]];
  const [, unit, size] = steps.find(([end]) => seconds < end);
  return Math.floor(seconds / size) + " " + unit;
}
function ago(ns, now = Date.now()) {
  if (!ns) return "–";
  const seconds = (now - ns / 1e6) / 1e3;
  if (seconds < 0) return "in " + span(-seconds);
  return seconds < 5 ? "just now" : span(seconds) + " ago";
}
function when(ns) {
  return ns ? new Date(ns / 1e6).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : "–";
}
var percent = (part, all) => all ? Math.round(100 * part / all) + " %" : "–";
var plural = (n2, word) => `${count2(n2)} ${word}${n2 === 1 ? "" : "s"}`;
var WORDS = {
  OPEN: "Open",
  PROPOSED: "Proposed",
  DECIDED: "Decided",
  RUNNING: "Running",
  CLAIMED: "Working",
  COMMITTED: "In review",
  FINALIZED: "Finalized",
  FAILED: "Failed",
  REFUNDED: "Refunded",
  EXPIRED: "Expired"
};
var TONES = {
  RUNNING: "busy",
  CLAIMED: "busy",
  COMMITTED: "accent",
  DECIDED: "accent",
  FINALIZED: "good",
  FAILED: "bad",
  REFUNDED: "warn",
  EXPIRED: "bad",
  funded: "accent",
  released: "good",
  refunded: "warn",
  expired: "bad",
  disputed: "bad",
  resolved: "good",
  verified: "good",
  submitted: "busy",
  negotiating: "busy",
  accepted: "accent",
  offered: "busy"
};
function stateWord(state) {
  const text = String(state || "");
  return WORDS[text] || text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}
var tone = (state) => TONES[state] || "";

// node/dashboard/static/js/parts.js
var toasting = 0;
function toast(text) {
  const place3 = document.getElementById("toast");
  if (!place3) return;
  place3.textContent = text;
  place3.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => {
    place3.hidden = true;
  }, 1800);
}
async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch {
    toast("The browser does not let pages copy here");
  }
}
function Copy({ text, label = "Copy" }) {
  return fe`<button type="button" class="button quiet" title=${label} aria-label=${label} onClick=${() => copy(text)}>
    <${Icon} name="copy" size=${15} /></button>`;
}
function Command({ text }) {
  return fe`<span class="command"><code tabindex="0" role="group" aria-label="Command">${text}</code><${Copy} text=${text} label="Copy the command" /></span>`;
}
function Badge({ state, word }) {
  return fe`<span class=${"badge " + tone(state)}>${word || stateWord(state)}</span>`;
}
function Tone({ of, plain, children }) {
  return fe`<span class=${"badge " + (of || "") + (plain ? " plain" : "")}>${children}</span>`;
}
var HUES = [262, 212, 172, 142, 92, 42, 12, 332, 292, 232];
function Face({ id, size }) {
  let hash = 2166136261;
  for (let at = 0; at < id.length; at += 1) hash = Math.imul(hash ^ id.charCodeAt(at), 16777619) >>> 0;
  const cells = [];
  for (let row = 0; row < 5; row += 1) {
    for (let column = 0; column < 3; column += 1) {
      hash = Math.imul(hash, 1664525) + 1013904223 >>> 0;
      if (hash >>> 31) cells.push([column, row], ...column < 2 ? [[4 - column, row]] : []);
    }
  }
  const hue = HUES[hash % HUES.length];
  return fe`<svg class="face" viewBox="-1 -1 7 7" width=${size} height=${size} aria-hidden="true" focusable="false">
    ${cells.map(([x2, y2]) => fe`<rect x=${x2} y=${y2} width="1.02" height="1.02" fill=${`hsl(${hue} 55% 52%)`} />`)}</svg>`;
}
function Who({ did, me, size = 18, full }) {
  if (!did) return fe`<span class="faint">–</span>`;
  return fe`<span class="who" title=${did}><${Face} id=${did} size=${size} />
    <code>${full ? did : short(did)}</code>${did === me && fe`<em>this node</em>`}</span>`;
}
function Ago({ ns }) {
  const [now, set] = G(Date.now());
  J(() => {
    const clock = setInterval(() => set(Date.now()), 1e4);
    return () => clearInterval(clock);
  }, []);
  if (!ns) return fe`<span class="faint">–</span>`;
  return fe`<time class="nowrap num" dateTime=${new Date(ns / 1e6).toISOString()} title=${when(ns)}>${ago(ns, Math.max(now, Date.now()))}</time>`;
}
function Bar({ part, of, label }) {
  const share = of ? Math.min(1, part / of) : 0;
  return fe`<span class="progress"><span class=${"bar" + (share === 1 ? " good" : "")} role="progressbar" aria-label=${label || "Progress"}
    aria-valuemin="0" aria-valuemax=${of} aria-valuenow=${part}><i style=${{ width: `${Math.round(share * 100)}%` }}></i></span>
    <span class="nowrap">${part}/${of}</span></span>`;
}
function Score({ value, label = "Score" }) {
  const kind = value >= 66 ? "good" : value >= 33 ? "warn" : "bad";
  return fe`<span class="progress"><span class=${"bar " + kind} role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${value}><i style=${{ width: `${value}%` }}></i></span><span>${value}</span></span>`;
}
function Card({ title, sub, end, children, bare, id }) {
  const label = id || "card-" + String(title).toLowerCase().replace(/[^a-z]+/g, "-");
  return fe`<section class="card" aria-labelledby=${label}>
    <header><h2 id=${label}>${title}</h2>${sub && fe`<span class="sub">${sub}</span>`}${end && fe`<span class="end">${end}</span>`}</header>
    ${bare ? children : fe`<div class="body">${children}</div>`}</section>`;
}
function Tile({ name, value, unit, note, href: href2 }) {
  const inner = fe`<span class="name">${name}</span><div class="value">${value}${unit && fe`${" "}<small>${unit}</small>`}</div>
    ${note && fe`<div class="note">${note}</div>`}`;
  return href2 ? fe`<a class="tile" href=${href2}>${inner}</a>` : fe`<div class="tile">${inner}</div>`;
}
function Empty({ icon = "spark", title, children, command }) {
  return fe`<div class="empty"><span class="pic"><${Icon} name=${icon} size=${22} /></span><b>${title}</b>
    ${children && fe`<p>${children}</p>`}${command && fe`<${Command} text=${command} />`}</div>`;
}
function Loading({ rows = 4 }) {
  return fe`<div class="skeletons" role="status"><span class="hidden">Loading</span>
    ${Array.from({ length: rows }, (_2, at) => fe`<span class="skeleton" style=${{ width: `${[92, 71, 84, 60][at % 4]}%` }}></span>`)}</div>`;
}
function Trouble({ problem, again: again2 }) {
  const command = /^swarmd [a-z]/.test(problem.fix || "") && !/[.;:]/.test(problem.fix) ? problem.fix : "";
  return fe`<div class="empty" role="alert"><span class="pic"><${Icon} name="warn" size=${22} /></span>
    <b>${problem.status === 404 ? "Not found" : "This could not be shown"}</b><p>${problem.message}</p>
    ${problem.fix && (command ? fe`<${Command} text=${command} />` : fe`<p>${problem.fix}</p>`)}
    ${again2 && fe`<button type="button" class="button" onClick=${again2}>Try again</button>`}</div>`;
}
function Reading({ of, rows, children }) {
  if (of.data === null || of.data === void 0) {
    if (of.problem) return fe`<${Trouble} problem=${of.problem} again=${of.reload} />`;
    return fe`<${Loading} rows=${rows} />`;
  }
  if (of.problem && of.problem.status && !of.loading) return fe`<${Trouble} problem=${of.problem} again=${of.reload} />`;
  return children(of.data);
}
function PageHead({ title, sub, crumb, actions, badge }) {
  return fe`<div class="page-head"><div class="grow">
    ${crumb && fe`<a class="crumb" href=${crumb.href}><${Icon} name="back" size=${15} />${crumb.text}</a>`}
    <h1>${title} ${badge}</h1>${sub && fe`<p class="sub">${sub}</p>`}</div>
    ${actions && fe`<div class="actions">${actions}</div>`}</div>`;
}
function Choices({ label, value, options, onChange }) {
  return fe`<div class="choices" role="group" aria-label=${label}>
    ${options.map(([key, text]) => fe`<button type="button" key=${key} aria-pressed=${String(key === value)} onClick=${() => onChange(key)}>${text}</button>`)}</div>`;
}
function SearchField({ value, label, onChange, id = "search" }) {
  const [text, set] = G(value);
  const timer = Q(0);
  const told = Q(value);
  J(() => {
    if (value === told.current) return;
    told.current = value;
    clearTimeout(timer.current);
    set(value);
  }, [value]);
  J(() => () => clearTimeout(timer.current), []);
  const typed = (event) => {
    const next = event.currentTarget.value;
    set(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      told.current = next.trim();
      onChange(told.current);
    }, 200);
  };
  return fe`<label class="field"><${Icon} name="search" size=${16} /><span class="hidden">${label}</span>
    <input id=${id} type="search" value=${text} placeholder=${label} maxlength="120" autocomplete="off" spellcheck=${false} onInput=${typed} />
    <kbd class="wide" aria-hidden="true">/</kbd></label>`;
}
function Pager({ offset, limit, total, onMove, note }) {
  if (total <= limit && !note) return null;
  const last = Math.min(offset + limit, total);
  return fe`<div class="pager"><span class="num">${total ? `${count2(offset + 1)}–${count2(last)} of ${count2(total)}` : "None"}${note && ` · ${note}`}</span>
    <span class="end"><button type="button" class="button" disabled=${offset === 0} onClick=${() => onMove(Math.max(0, offset - limit))}>
      <${Icon} name="back" size=${15} />Newer</button>
    <button type="button" class="button" disabled=${last >= total} onClick=${() => onMove(offset + limit)}>
      Older<${Icon} name="next" size=${15} /></button></span></div>`;
}
function Table({ label, columns: columns5, rows, keyOf }) {
  const place3 = (column) => [column.right && "right", column.wide && (column.wide === 2 ? "wide wider" : "wide"), column.title && "title"].filter(Boolean).join(" ");
  return fe`<table class="table"><caption class="hidden">${label}</caption>
    <thead><tr>${columns5.map((column) => fe`<th scope="col" class=${place3(column)}>${column.name || fe`<span class="hidden">${column.hidden}</span>`}</th>`)}</tr></thead>
    <tbody>${rows.map((row, at) => fe`<tr key=${keyOf ? keyOf(row) : at}>
      ${columns5.map((column) => fe`<td class=${place3(column)}>${column.cell(row)}</td>`)}</tr>`)}</tbody></table>`;
}
var needHref = (thread) => (thread.startsWith("escrow-") ? "#/escrows/" : "#/needs/") + encodeURIComponent(thread);

// node/dashboard/static/js/routes.js
function parse(hash) {
  const [path, query2 = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { page: parts[0] || "overview", id: parts[1] || "", params: Object.fromEntries(new URLSearchParams(query2)) };
}
var place = store(parse(location.hash));
addEventListener("hashchange", () => place.set(parse(location.hash)));
function go(hash) {
  location.hash = hash;
}
function setParams(changes2, { replace = false } = {}) {
  const { page, id, params } = place.get();
  const next = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...params, ...changes2 })) {
    if (value !== "" && value !== null && value !== void 0 && value !== false) next.set(key, String(value));
  }
  const text = next.toString();
  const hash = "#/" + [page, id].filter(Boolean).map(encodeURIComponent).join("/") + (text ? "?" + text : "");
  if (replace) {
    history.replaceState(null, "", hash);
    place.set(parse(hash));
  } else {
    location.hash = hash;
  }
}

// node/dashboard/static/js/pages/agents.js
function status(agent) {
  if (!agent.enabled) return ["", "off"];
  if (!agent.available) return ["bad", "takes no work"];
  return agent.running ? ["busy", `${plural(agent.running, "job")} running`] : ["good", "ready"];
}
function Agent({ agent }) {
  const [tone2, word] = status(agent);
  const failures = Object.entries(agent.failed || {});
  const failed = failures.reduce((sum, [, n2]) => sum + n2, 0);
  return fe`<section class="card agent" aria-label=${`Agent ${agent.name}`}><header><h2 class="clip">${agent.name}</h2><span class="end"><${Tone} of=${tone2}>${word}</${Tone}></span></header>
    <div class="body"><dl class="facts"><div><dt>Done</dt><dd>${count2(agent.done)}</dd></div><div><dt>Failed</dt><dd>${count2(failed)}</dd></div><div><dt>At a time</dt><dd>${count2(agent.concurrency)}</dd></div></dl>
      <ul class="offers" aria-label="What it can do">${(agent.capabilities || []).map((each) => fe`<li key=${each.name}><span class="tag">${each.name}</span><span class="num">${usdc(each.price)} <span class="faint">USDC</span></span></li>`)}</ul>
      ${failures.length > 0 && fe`<p class="faint">${failures.map(([code, n2]) => `${code}: ${n2}`).join(", ")}</p>`}
      ${agent.kind === "command" ? fe`<p class="clip faint" title=${(agent.argv || []).join(" ")}><code>${(agent.argv || []).join(" ")}</code></p>` : fe`<p class="faint">${agent.kind} process</p>`}
      ${agent.enabled && !agent.available && agent.kind === "command" && fe`<${Command} text=${`swarmd agent stderr ${agent.name}`} />`}</div></section>`;
}
function Agents() {
  const found = useRead("agents", null, { every: 4e3, live: (event) => ["CLAIM", "COMMIT", "ATTEST"].includes(event.kind) });
  return fe`<${PageHead} title="Agents" sub="The programs of this host that work for the mesh, what they can do and what they ask for it." />
    <${Reading} of=${found} rows=${5}>${({ agents }) => agents.length ? fe`<div class="cards">${agents.map((agent) => fe`<${Agent} key=${agent.name} agent=${agent} />`)}</div>` : fe`<div class="card"><${Empty} icon="agents" title="No agents yet" command="swarmd agent add wc --capability text.wordcount --price 0.02 -- python wordcount.py">
          An agent is any program that reads JSON and writes JSON. This node earns when its agents' work is accepted.</${Empty}></div>`}</${Reading}>`;
}

// node/dashboard/static/js/charts.js
function Columns({ hours, from = "24 h ago" }) {
  const top = Math.max(4, ...hours.map((hour) => hour.posted));
  const all = hours.reduce((sum, hour) => sum + hour.posted, 0);
  const done = hours.reduce((sum, hour) => sum + hour.finalized, 0);
  const failed = hours.reduce((sum, hour) => sum + hour.failed, 0);
  const high = 100;
  const step = 100 / hours.length;
  const part = (hour, at) => {
    const scale = high / top;
    let y2 = high;
    return [["finalized", hour.finalized], ["failed", hour.failed], ["open", hour.posted - hour.finalized - hour.failed]].map(([kind, n2]) => {
      const tall = n2 * scale;
      y2 -= tall;
      return n2 > 0 && fe`<rect class=${"col-" + kind} x=${at * step + step * 0.16} y=${y2} width=${step * 0.68} height=${tall} />`;
    });
  };
  return fe`<figure class="columns"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
      aria-label=${`${count2(all)} needs since ${from}: ${count2(done)} finalized, ${count2(failed)} refunded or expired`}>
      ${[0, 0.5].map((share) => fe`<line class="rule" x1="0" x2="100" y1=${high * share + 0.25} y2=${high * share + 0.25} vector-effect="non-scaling-stroke" />`)}
      ${hours.map(part)}<line class="base" x1="0" x2="100" y1="100" y2="100" vector-effect="non-scaling-stroke" /></svg>
    <figcaption><span>${from}</span><span class="legend"><span><i class="finalized"></i>finalized ${count2(done)}</span><span><i class="failed"></i>failed ${count2(failed)}</span>
      <span><i class="open"></i>in work ${count2(all - done - failed)}</span></span><span>now</span></figcaption></figure>`;
}
function Bars({ rows, label }) {
  const top = Math.max(1e-9, ...rows.map((row) => row.value));
  return fe`<ul class="bars" aria-label=${label}>${rows.map((row) => fe`<li key=${row.name}><span class="clip">${row.name}</span>
    <span class="bar"><i style=${{ width: `${Math.max(row.value ? 1 : 0, 100 * row.value / top)}%` }}></i></span><span class="num right">${row.text}</span></li>`)}</ul>`;
}

// node/dashboard/static/js/pages/analytics.js
var HOURS = [["", "24 h"], ["72", "3 days"], ["168", "7 days"]];
var LATENCIES = [["decide_ms", "To decide"], ["execute_ms", "To execute"], ["finalize_ms", "In all"]];
var rate = (share) => share === null || share === void 0 ? "–" : (100 * share).toFixed(share === 1 ? 0 : 1) + " %";
var leaders = (me) => [
  { name: "#", cell: (row) => fe`<span class="rank num">${row.rank}</span>` },
  { name: "Node", cell: (row) => fe`<${Who} did=${row.did} me=${me} />` },
  { name: "Reputation", cell: (row) => fe`<${Score} value=${row.reputation} label="Reputation" />` },
  { name: "Accepted", wide: true, right: true, cell: (row) => fe`<span class="num">${count2(row.accepted)}</span>` },
  { name: "Failed", wide: 2, right: true, cell: (row) => fe`<span class="num">${count2(row.failed)}</span>` },
  { name: "Earned", right: true, cell: (row) => fe`<span class="num nowrap">${usdc(row.earned.usdc)}</span>` }
];
function Latency({ latency }) {
  const rows = LATENCIES.flatMap(([key, name]) => ["p50", "p95", "p99"].map((each) => ({ name: `${name} ${each}`, value: latency[key][each] || 0, text: ms(latency[key][each]) })));
  return fe`<${Bars} label="Latency" rows=${rows} />`;
}
function Analytics({ at, overview }) {
  const hours = at.params.hours || "";
  const found = useRead("dashboard/analytics", { hours: hours || 24, limit: 20 }, { live: () => true, every: 5e3 });
  const me = overview.data?.did;
  return fe`<${PageHead} title="Analytics" sub="Counted by this node from its own journal, within seconds of what happens."
      actions=${fe`<${Choices} label="Time" value=${hours} options=${HOURS} onChange=${(next) => setParams({ hours: next })} />`} />
    <${Reading} of=${found} rows=${8}>${(it) => {
    const { escrow, needs, tasks, challenges } = it;
    const rank = it.leaderboard.find((row) => row.did === it.me.did)?.rank;
    const columns5 = it.hours.map((hour) => ({ posted: hour.needs, finalized: hour.finalized, failed: hour.ended - hour.finalized }));
    return fe`<div class="stack"><div class="tiles">
          <${Tile} name="Escrow success" value=${rate(escrow.success_rate)} note=${`${count2(needs.finalized)} of ${count2(needs.needs - needs.open)} that ended`} />
          <${Tile} name="Paid" value=${usdc(escrow.paid.usdc)} unit="USDC" note=${`${usdc(escrow.budget.usdc)} promised, ${usdc(escrow.returned.usdc)} returned`} />
          <${Tile} name="Tasks accepted" value=${count2(tasks.accepted)} note=${`${plural(tasks.failed, "attempt")} failed`} />
          <${Tile} name="In all, median" value=${ms(it.latency.finalize_ms.p50)} note=${`p95 ${ms(it.latency.finalize_ms.p95)}`} />
          <${Tile} name="Challenges" value=${count2(challenges.made)} note=${`${count2(challenges.upheld)} upheld`} />
          <${Tile} name="My reputation" value=${it.me.reputation} unit="of 100" note=${rank ? `rank ${rank}` : "no work counted yet"} /></div>
        <div class="grid"><div class="w7 stack"><${Card} title="Needs" sub="by the hour they were posted" end=${fe`<${Tone} of=${it.behind_s > 5 ? "warn" : "good"}>${it.behind_s > 1 ? `${span(it.behind_s)} behind` : "up to date"}</${Tone}>`}>
            <${Columns} hours=${columns5} from=${hours ? span(3600 * Number(hours)) + " ago" : "24 h ago"} /></${Card}>
          <${Card} title="Leaderboard" sub="by reputation, then by how much they did" bare>${it.leaderboard.length ? fe`<${Table} label="Leaderboard" columns=${leaders(me)} rows=${it.leaderboard} keyOf=${(row) => row.did} />` : fe`<${Empty} icon="analytics" title="Nobody has worked yet">Nodes appear here with their first accepted or failed task.</${Empty}>`}</${Card}></div>
        <div class="w5 stack"><${Card} title="Latency">${it.latency.finalize_ms.count ? fe`<${Latency} latency=${it.latency} />` : fe`<p class="muted">No need has ended yet.</p>`}</${Card}>
          <${Card} title="Capabilities" sub="accepted tasks">${it.capabilities.length ? fe`<${Bars} label="Capabilities" rows=${it.capabilities.slice(0, 12).map((each) => ({ name: each.name || each.capability, value: each.accepted, text: `${count2(each.accepted)} · ${rate(each.success_rate)}` }))} />` : fe`<p class="muted">None used yet.</p>`}</${Card}></div></div></div>`;
  }}</${Reading}>`;
}

// node/dashboard/static/js/pages/escrows.js
var WAY = ["offered", "negotiating", "accepted", "funded", "submitted", "verified", "released"];
var ENDS = ["released", "resolved", "refunded", "expired"];
var STATES = [["", "All"], ["negotiating", "Negotiating"], ["funded", "Funded"], ["disputed", "Disputed"], ["released", "Released"]];
var MAX = 200;
var href = (id) => "#/escrows/" + encodeURIComponent(id);
var ours = (event) => !event.need || event.need.startsWith("escrow-");
var columns = (me) => [
  { name: "Escrow", title: true, cell: (row) => fe`<a href=${href(row.escrow)}>${row.title || row.escrow}</a><span>${row.waits_for.length ? `waits for ${row.waits_for.join(", ")}` : row.reason || row.escrow}</span>` },
  { name: "State", cell: (row) => fe`<${Badge} state=${row.state} />` },
  { name: "Part", wide: true, cell: (row) => fe`<${Tone} plain>${row.role}</${Tone}>` },
  { name: "Buyer", wide: true, cell: (row) => fe`<${Who} did=${row.buyer} me=${me} />` },
  { name: "Seller", wide: true, cell: (row) => fe`<${Who} did=${row.seller} me=${me} />` },
  { name: "USDC", right: true, cell: (row) => fe`<span class="num nowrap">${usdc(row.amount)}</span>` }
];
function Escrows({ at, overview }) {
  const { state = "", all = "" } = at.params;
  const me = overview.data?.did;
  const found = useRead("dashboard/escrows", { state, all: all ? "true" : "", limit: MAX }, { live: ours, every: 3e4 });
  return fe`<${PageHead} title="Escrows" sub="Agreements between two nodes: terms are offered and answered, money is locked, work is delivered, scored and paid." />
    <div class="toolbar"><${Choices} label="State" value=${state} options=${STATES} onChange=${(next) => setParams({ state: next })} />
      <${Choices} label="Whose" value=${all} options=${[["", "With this node"], ["1", "All known"]]} onChange=${(next) => setParams({ all: next })} /></div>
    <section class="card" aria-label="Escrows"><${Reading} of=${found} rows=${8}>${(page) => page.escrows.length ? fe`<${Table} label="Escrows" columns=${columns(me)} rows=${page.escrows} keyOf=${(row) => row.escrow} />
        ${page.total > page.escrows.length && fe`<div class="pager">${page.escrows.length} of ${page.total}, by what is at stake. Narrow them by state.</div>`}` : state || all ? fe`<${Empty} icon="search" title="No escrow fits"><a href="#/escrows">Show those with this node</a></${Empty}>` : fe`<${Empty} icon="escrow" title="No escrows yet" command="swarmd escrow create --help">
          Needs lock their money by themselves. An escrow is for work that two nodes agree on between them, with terms, milestones and a review.</${Empty}>`}</${Reading}></section>`;
}
function Steps({ state }) {
  const at = WAY.indexOf(state);
  const way = at >= 0 ? WAY : ["offered", "accepted", "funded", state];
  const now = at >= 0 ? at : way.length - 1;
  return fe`<ol class="steps" aria-label="How far it is">${way.map((name, index) => fe`<li key=${name} class=${index < now ? "past" : index === now ? "now" : ""} aria-current=${index === now ? "step" : void 0}>${stateWord(name)}</li>`)}</ol>`;
}
function changes(terms, before) {
  if (!before) return [];
  const said = [];
  if (terms.amount !== before.amount) said.push(`${usdc(before.amount)} → ${usdc(terms.amount)} USDC`);
  if (terms.deadline_ns !== before.deadline_ns) said.push(`due ${when(terms.deadline_ns)}`);
  if (terms.review_s !== before.review_s) said.push(`review ${span(terms.review_s)}`);
  if (terms.milestones.length !== before.milestones.length) said.push(plural(terms.milestones.length, "milestone"));
  if (terms.spec !== before.spec) said.push("another specification");
  return said;
}
function Thread({ it, me }) {
  return fe`<${Card} title="Negotiation" sub=${plural(it.offers.length, "offer")} bare>${it.offers.length ? fe`<ol class="thread">${it.offers.map((offer, index) => {
    const moved = changes(offer.terms, it.offers[index - 1]?.terms);
    return fe`<li key=${offer.offer} class=${"say" + (offer.by === me ? " own" : "")}><header><${Who} did=${offer.by} me=${me} size=${15} />
        <span>${offer.answers ? "counters" : "offers"}</span><${Ago} ns=${offer.at_ns} />${offer.accepted_by.length > 0 && fe`<${Tone} of="good">accepted</${Tone}>`}</header>
      <b class="num">${usdc(offer.amount)} USDC</b> <span class="muted">for ${plural(offer.terms.milestones.length, "milestone")}, stands until ${when(offer.expires_ns)}</span>
      ${moved.length > 0 && fe`<p class="muted">${moved.join(" · ")}</p>`}${offer.note && fe`<p>${offer.note}</p>`}</li>`;
  })}</ol>` : fe`<${Empty} icon="escrow" title="No offers yet">The first offer begins the negotiation.</${Empty}>`}</${Card}>`;
}
function Milestones({ it, me }) {
  if (!it.milestones.length) return null;
  const paid = it.milestones.filter((each) => each.state === "paid").length;
  return fe`<${Card} title="Milestones" end=${fe`<${Bar} part=${paid} of=${it.milestones.length} label="Milestones paid" />`} bare><ul class="lines">${it.milestones.map((each) => fe`<li key=${each.name}><div class="line">
    <span class="grow"><b>${each.name}</b> <span class="muted num">${usdc(each.amount)} USDC</span>${each.because && fe`<div class="faint">${each.because}</div>`}
      ${each.delivery && fe`<div><code class="faint">${each.delivery.cid}</code> <${Ago} ns=${each.delivery.at_ns} /></div>${each.delivery.note && fe`<div>${each.delivery.note}</div>`}
        ${each.delivery.scores.map((score) => fe`<div key=${score.by}><${Who} did=${score.by} me=${me} size=${15} /> scores ${score.score}${score.reason && fe`<span class="faint">: ${score.reason}</span>`}</div>`)}`}</span>
    <${Tone} of=${{ paid: "good", approved: "good", submitted: "busy", open: "" }[each.state] ?? "warn"}>${each.state}</${Tone}></div></li>`)}</ul></${Card}>`;
}
function Dispute({ of, me }) {
  if (!of) return null;
  return fe`<${Card} title="Dispute" end=${fe`<${Tone} of="bad">open to the panel</${Tone}>`}><dl class="pairs">${of.claims.map((claim) => fe`<dt><${Who} did=${claim.by} me=${me} /></dt><dd>${claim.reason}
      ${claim.evidence.map((cid) => fe`<div key=${cid}><code class="faint">${cid}</code></div>`)}</dd>`)}
    ${of.votes.map((vote) => fe`<dt><${Who} did=${vote.by} me=${me} /></dt><dd>votes ${(vote.seller_bp / 100).toFixed(0)} % to the seller${vote.reason && `: ${vote.reason}`}</dd>`)}</dl></${Card}>`;
}
function Terms({ terms, me }) {
  return fe`<${Card} title="Terms"><dl class="pairs">${terms.spec && fe`<dt>Wanted</dt><dd>${terms.spec}</dd>`}<dt>Amount</dt><dd class="num">${usdc(terms.amount)} USDC</dd>
    <dt>Deadline</dt><dd>${when(terms.deadline_ns)}</dd><dt>Review</dt><dd>${span(terms.review_s)}</dd>
    ${terms.scorers.length > 0 && fe`<dt>Scorers</dt><dd>${terms.scorers.map((did) => fe`<div key=${did}><${Who} did=${did} me=${me} /></div>`)}${terms.score_quorum} must agree</dd>`}
    ${terms.panel.length > 0 && fe`<dt>Panel</dt><dd>${terms.panel.map((did) => fe`<div key=${did}><${Who} did=${did} me=${me} /></div>`)}${terms.quorum} must agree, within ${span(terms.panel_s)}</dd>`}
    ${terms.after.map((each) => fe`<dt>After</dt><dd key=${each.name}>${each.name}, said by <${Who} did=${each.by} me=${me} /></dd>`)}</dl></${Card}>`;
}
function EscrowPage({ at, overview }) {
  const me = overview.data?.did;
  const found = useRead("dashboard/escrows/" + encodeURIComponent(at.id), null, { live: (event) => !event.need || event.need === at.id });
  const it = found.data;
  const crumb = { href: "#/escrows", text: "Escrows" };
  if (!it) return fe`<${PageHead} title=${at.id} crumb=${crumb} /><div class="card"><${Reading} of=${found} rows=${6}>${() => null}</${Reading}></div>`;
  const next = ENDS.includes(it.state) ? it.reason || "It has ended." : it.waits_for.length ? `Waits for ${it.waits_for.join(", ")}.` : "";
  return fe`<${PageHead} crumb=${crumb} title=${it.title || it.escrow} badge=${fe`<${Badge} state=${it.state} />`}
      sub=${fe`<span class="headline"><code>${it.escrow}</code><${Copy} text=${it.escrow} label="Copy the escrow's id" />${next}</span>`} />
    <div class="stack"><${Steps} state=${it.state} /><div class="tiles">
      <${Tile} name="Amount" value=${usdc(it.amount)} unit="USDC" note=${it.covered ? "covered" : "not covered yet"} />
      <${Tile} name="Held" value=${usdc(it.held)} unit="USDC" note="in escrow now" />
      <${Tile} name="Paid" value=${usdc(it.paid)} unit="USDC" note=${`fee ${usdc(it.fee)}, returned ${usdc(it.returned)}`} />
      <${Tile} name="Deadline" value=${it.deadline_ns ? ago(it.deadline_ns) : "–"} note=${it.deadline_ns ? when(it.deadline_ns) : "it has ended"} /></div>
    <div class="grid"><div class="w8 stack">${it.offers ? fe`<${Thread} it=${it} me=${me} />` : fe`<${Card} title="Negotiation"><p class="muted">A checkpoint closed this escrow: its offers are in the journal, and not in memory.</p></${Card}>`}
        ${it.milestones && fe`<${Milestones} it=${it} me=${me} />`}<${Dispute} of=${it.dispute} me=${me} /></div>
      <div class="w4 stack"><${Card} title="Parties"><dl class="pairs">${["buyer", "seller"].map((role) => fe`<dt key=${role}>${stateWord(role)}</dt><dd><${Who} did=${it[role]} me=${me} />
        ${it.reputation[role] !== void 0 && fe`<div class="faint">reputation ${it.reputation[role]} of 100</div>`}</dd>`)}</dl></${Card}>
        ${it.terms && fe`<${Terms} terms=${it.terms} me=${me} />`}</div></div></div>`;
}

// node/dashboard/static/js/pages/ledger.js
var LIMIT = 25;
var WORDS2 = { locked: "Locked for", returned: "Returned from", earned: "Earned with" };
var lines = [
  { name: "What", title: true, cell: (line) => fe`<a href=${needHref(line.need)}>${WORDS2[line.what]} ${line.task ? `${line.task} of ` : ""}${line.title || line.need}</a><span>${line.need}</span>` },
  { name: "Escrow", wide: true, cell: (line) => fe`<${Badge} state=${line.state} />` },
  { name: "When", wide: true, right: true, cell: (line) => fe`<${Ago} ns=${line.at_ns} />` },
  { name: "USDC", right: true, cell: (line) => fe`<span class=${"num nowrap amount " + line.what}>${line.what === "locked" ? usdc(line.amount) : "+" + usdc(line.amount)}</span>` }
];
var accounts = (me) => [
  { name: "Account", cell: (row) => row.person ? fe`<${Who} did=${row.did} me=${me} />` : fe`<code>${row.did}</code>` },
  { name: "Reputation", wide: true, cell: (row) => row.person ? fe`<${Score} value=${row.reputation} label="Reputation" />` : fe`<span class="faint">–</span>` },
  { name: "Earned", wide: true, right: true, cell: (row) => fe`<span class="num">${usdc(row.earned)}</span>` },
  { name: "Locked", wide: true, right: true, cell: (row) => fe`<span class="num">${usdc(row.locked)}</span>` },
  { name: "Available", right: true, cell: (row) => fe`<span class="num">${usdc(row.available)}</span>` }
];
var anchors = [
  { name: "Transaction", cell: (row) => row.tx_hash ? fe`<span class="who"><code>${row.tx_hash.slice(0, 10)}…</code><${Copy} text=${row.tx_hash} label="Copy the transaction" /></span>` : fe`<${Tone} of="busy">on its way</${Tone}>` },
  { name: "Needs", cell: (row) => fe`<span class="tags">${row.needs.slice(0, 1).map((need) => fe`<a key=${need} class="tag" href=${needHref(need)} title=${need}>${need.slice(0, 13)}…</a>`)}${row.needs.length > 1 && fe`<span class="faint">+${row.needs.length - 1}</span>`}</span>` },
  { name: "Receipts", wide: true, right: true, cell: (row) => fe`<span class="num">${count2(row.receipts)}</span>` },
  { name: "Block", wide: true, right: true, cell: (row) => row.block ? fe`<span class="num">${count2(row.block)}</span>` : fe`<span class="faint">–</span>` }
];
function Ledger({ at, overview }) {
  const me = overview.data?.did;
  const offset = Math.max(0, Math.floor(Number(at.params.offset)) || 0);
  const statement = useRead("dashboard/statement", { offset, limit: LIMIT }, { live: () => true });
  const settled = useRead("dashboard/anchors", null, { live: () => true, every: 1e4 });
  const known = useRead("dashboard/accounts", { limit: 50 }, { live: () => true });
  return fe`<${PageHead} title="Ledger" sub="Money is locked when a need is posted, and moves when a committee accepts a result." />
    <div class="stack"><${Reading} of=${overview} rows=${2}>${({ balance }) => fe`<div class="tiles">
        <${Tile} name="Available" value=${usdc(balance.available)} unit="USDC" note="can be spent now" />
        <${Tile} name="Locked" value=${usdc(balance.locked)} unit="USDC" note="in escrow for your needs" />
        <${Tile} name="Earned" value=${usdc(balance.earned)} unit="USDC" note="by your agents" />
        <${Tile} name="Spent" value=${usdc(balance.spent)} unit="USDC" note=${`${plural(balance.entries, "signed entry").replace("entrys", "entries")}`} /></div>`}</${Reading}>
      <div class="grid"><div class="w7"><${Card} title="Statement" sub="what moved on this node's account" bare><${Reading} of=${statement} rows=${6}>${(page) => page.lines.length ? fe`<${Table} label="Statement" columns=${lines} rows=${page.lines} keyOf=${(line) => line.what + line.need + line.task} />
            <${Pager} offset=${page.offset} limit=${page.limit} total=${page.total} onMove=${(next) => setParams({ offset: next || "" })} />` : fe`<${Empty} icon="ledger" title="Nothing has moved yet">Post a need, or let an agent work: each lock and each payment is a line here.</${Empty}>`}</${Reading}></${Card}></div>
      <div class="w5"><${Card} title="Settlement" sub="receipts anchored on the chain" bare><${Reading} of=${settled} rows=${4}>${(page) => fe`
          <div class="body"><dl class="pairs"><dt>Chain</dt><dd>${page.chain.kind || "none"} ${page.chain.chain_id || ""} <${Tone} of=${page.chain.trouble ? "bad" : "good"}>${page.chain.trouble || page.chain.state || "unknown"}</${Tone}></dd>
            ${page.chain.error && fe`<dt>Error</dt><dd>${page.chain.error}</dd>`}
            ${page.chain.head ? fe`<dt>Head</dt><dd class="num">${count2(page.chain.head)}</dd>` : null}
            ${page.chain.account && fe`<dt>Account</dt><dd><code>${page.chain.account}</code></dd>`}
            <dt>Waiting</dt><dd class="num">${plural(page.waiting, "receipt")}</dd></dl></div>
          ${page.anchors.length ? fe`<${Table} label="Anchors" columns=${anchors} rows=${page.anchors} keyOf=${(row) => row.anchor} />` : fe`<${Empty} icon="ledger" title="Nothing anchored yet">Receipts of needs you own go to the chain together, a few seconds after they end.</${Empty}>`}`}</${Reading}></${Card}></div></div>
      <${Card} title="Accounts" sub="of everybody, by what they earned" bare><${Reading} of=${known} rows=${5}>${(page) => fe`<${Table} label="Accounts" columns=${accounts(me)} rows=${page.accounts} keyOf=${(row) => row.did} />
        <div class="pager"><span class="num">${usdc(page.supply)} USDC in all accounts and escrows together</span></div>`}</${Reading}></${Card}></div>`;
}

// node/dashboard/static/js/layout.js
var SWEEPS = 6;
function layout(tasks, box, gap, down = false) {
  const known = new Map(tasks.map((task) => [task.id, task]));
  const parents = new Map(tasks.map((task) => [task.id, task.parents.filter((id) => known.has(id) && id !== task.id)]));
  const layers = layersOf(tasks, parents);
  const rows = withCorners(tasks, parents, layers);
  order(rows);
  return place2(rows, box, gap, down);
}
function layersOf(tasks, parents) {
  const layers = /* @__PURE__ */ new Map();
  const open = /* @__PURE__ */ new Set();
  const depth = (first) => {
    const stack = [first];
    while (stack.length) {
      const id = stack[stack.length - 1];
      open.add(id);
      const waiting = parents.get(id).find((parent) => !layers.has(parent) && !open.has(parent));
      if (waiting !== void 0) {
        stack.push(waiting);
        continue;
      }
      layers.set(id, Math.max(0, ...parents.get(id).map((parent) => (layers.get(parent) ?? -1) + 1)));
      open.delete(id);
      stack.pop();
    }
  };
  for (const task of tasks) if (!layers.has(task.id)) depth(task.id);
  return layers;
}
function withCorners(tasks, parents, layers) {
  const rows = [];
  const cell = (id, layer, task) => {
    const made = { id, layer, task, up: [], down: [], slot: 0 };
    (rows[layer] ||= []).push(made);
    return made;
  };
  const cells = new Map(tasks.map((task) => [task.id, cell(task.id, layers.get(task.id), task)]));
  const edges = [];
  for (const task of tasks) {
    for (const parent of parents.get(task.id)) {
      const from = cells.get(parent);
      const to = cells.get(task.id);
      const chain = [from];
      for (let layer = from.layer + 1; layer < to.layer; layer += 1) chain.push(cell(`${parent}→${task.id}@${layer}`, layer, null));
      chain.push(to);
      for (let at = 1; at < chain.length; at += 1) {
        chain[at - 1].down.push(chain[at]);
        chain[at].up.push(chain[at - 1]);
      }
      edges.push({ from: parent, to: task.id, chain });
    }
  }
  return { rows: rows.map((row) => row || []), edges, cells };
}
function order({ rows }) {
  const number = (row) => row.forEach((each, at) => {
    each.slot = at;
  });
  rows.forEach(number);
  const sort = (row, side) => {
    const weight = new Map(row.map((each) => [each, each[side].length ? each[side].reduce((sum, other) => sum + other.slot, 0) / each[side].length : each.slot]));
    row.sort((a2, b2) => weight.get(a2) - weight.get(b2) || a2.slot - b2.slot);
    number(row);
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    if (sweep % 2 === 0) for (const row of rows.slice(1)) sort(row, "up");
    else for (const row of rows.slice(0, -1).reverse()) sort(row, "down");
  }
}
function place2({ rows, edges, cells }, box, gap, down) {
  const along = down ? box.height + gap.layer : box.width + gap.layer;
  const across = down ? box.width + gap.slot : box.height + gap.slot;
  const thin = across * 0.5;
  const lengths = rows.map((row) => row.reduce((sum, each) => sum + (each.task ? across : thin), 0));
  const longest = Math.max(across, ...lengths);
  rows.forEach((row, layer) => {
    let at = (longest - lengths[layer]) / 2;
    for (const each of row) {
      const size = each.task ? across : thin;
      const middle = at + size / 2 - gap.slot / 2;
      const start = layer * along;
      each.x = down ? middle - box.width / 2 : start;
      each.y = down ? start : middle - box.height / 2;
      each.middle = middle;
      at += size;
    }
  });
  const nodes = new Map([...cells].map(([id, each]) => [id, { layer: each.layer, slot: each.slot, x: each.x, y: each.y }]));
  return {
    nodes,
    edges: edges.map(({ from, to, chain }) => ({ from, to, points: pointsOf(chain, along, box, down) })),
    width: down ? longest - gap.slot : Math.max(1, rows.length) * along - gap.layer,
    height: down ? Math.max(1, rows.length) * along - gap.layer : longest - gap.slot
  };
}
function pointsOf(chain, along, box, down) {
  const points = [];
  const put = (start, middle) => points.push(down ? [middle, start] : [start, middle]);
  const size = down ? box.height : box.width;
  chain.forEach((each, at) => {
    const start = each.layer * along;
    if (at > 0) put(start, each.middle);
    if (at < chain.length - 1) put(start + size, each.middle);
  });
  return points;
}
function curve(points, down) {
  let path = `M${points[0][0]},${points[0][1]}`;
  for (let at = 1; at < points.length; at += 1) {
    const [ax, ay] = points[at - 1];
    const [bx, by] = points[at];
    if (at % 2 === 0) path += `L${bx},${by}`;
    else if (down) path += `C${ax},${(ay + by) / 2} ${bx},${(ay + by) / 2} ${bx},${by}`;
    else path += `C${(ax + bx) / 2},${ay} ${(ax + bx) / 2},${by} ${bx},${by}`;
  }
  return path;
}

// node/dashboard/static/js/graph.js
var BOX = { width: 196, height: 54 };
var GAP = { layer: 56, slot: 18 };
var LEAST_SCALE = 0.6;
var PAD = 14;
var TONE = { CLAIMED: "busy", COMMITTED: "accent", DECIDED: "accent", FINALIZED: "good", FAILED: "bad" };
var clip = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;
function useWidth(ref) {
  const [width, set] = G(0);
  J(() => {
    const watcher = new ResizeObserver(([entry]) => set(Math.round(entry.contentRect.width)));
    watcher.observe(ref.current);
    return () => watcher.disconnect();
  }, []);
  return width;
}
function arrange(tasks, room) {
  const right = { down: false, ...layout(tasks, BOX, GAP, false) };
  if (!room || right.width + 2 * PAD <= room) return right;
  const down = { down: true, ...layout(tasks, BOX, GAP, true) };
  return down.width < right.width ? down : right;
}
function Edge({ edge, states, down, chosen }) {
  const from = states.get(edge.from);
  const to = states.get(edge.to);
  const kind = to === "CLAIMED" ? "moving" : from === "FINALIZED" ? "passed" : "";
  const lit = chosen && (edge.from === chosen || edge.to === chosen) ? " lit" : "";
  return fe`<path class=${"edge " + kind + lit} d=${curve(edge.points, down)} marker-end=${lit ? "url(#tip-lit)" : "url(#tip)"} />`;
}
function Node({ task, at, chosen, choose }) {
  const label = `${task.task}, ${stateWord(task.state)}, ${task.capability}`;
  const pressed = (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(task.task);
    }
  };
  return fe`<g class=${"node " + (TONE[task.state] || "")} role="button" tabindex="0" aria-label=${label} aria-pressed=${String(chosen)}
      style=${{ transform: `translate(${at.x}px, ${at.y}px)` }} onClick=${() => choose(task.task)} onKeyDown=${pressed} data-task=${task.task} data-state=${task.state}>
    <title>${label}</title>
    <rect class="halo" x="-3" y="-3" width=${BOX.width + 6} height=${BOX.height + 6} rx="12" />
    <rect class="box" width=${BOX.width} height=${BOX.height} rx="9" />
    <circle class="dot" cx="17" cy="20" r="4.5" />
    <text class="name" x="30" y="24.5">${clip(task.task, 22)}</text>
    <text class="what" x="14" y="42">${clip(task.capability, 18)}</text>
    <text class="word" x=${BOX.width - 12} y="42" text-anchor="end">${stateWord(task.state)}</text></g>`;
}
function Graph({ tasks, chosen, choose }) {
  const frame = Q(null);
  const room = useWidth(frame);
  const shape = JSON.stringify(tasks.map((task) => [task.task, task.parents]));
  const drawn = Y(() => arrange(tasks.map((task) => ({ id: task.task, parents: task.parents })), room), [shape, room]);
  const states = new Map(tasks.map((task) => [task.task, task.state]));
  const width = drawn.width + 2 * PAD;
  const height = drawn.height + 2 * PAD;
  const scale = room ? Math.max(LEAST_SCALE, Math.min(1, room / width)) : 1;
  return fe`<div class="graph" ref=${frame} tabindex="0" role="group" aria-label=${`Plan of ${tasks.length} tasks`}>
    <svg viewBox=${`${-PAD} ${-PAD} ${width} ${height}`} width=${Math.round(width * scale)} height=${Math.round(height * scale)}>
      <defs>${["tip", "tip-lit"].map((id) => fe`<marker id=${id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse">
        <path class=${id} d="M1,1 L7,4 L1,7" /></marker>`)}</defs>
      ${drawn.edges.map((edge) => fe`<${Edge} key=${edge.from + "→" + edge.to} edge=${edge} states=${states} down=${drawn.down} chosen=${chosen} />`)}
      ${tasks.map((task) => fe`<${Node} key=${task.task} task=${task} at=${drawn.nodes.get(task.task)} chosen=${task.task === chosen} choose=${choose} />`)}
    </svg></div>`;
}
function TaskFacts({ task, Who: Who2, Badge: Badge2, me }) {
  return fe`<dl class="pairs"><dt>State</dt><dd><${Badge2} state=${task.state} />${task.attempt > 0 && fe` <span class="faint">attempt ${task.attempt + 1}</span>`}</dd>
    <dt>Capability</dt><dd><span class="tag">${task.capability}</span></dd>
    <dt>Worker</dt><dd>${task.worker ? fe`<${Who2} did=${task.worker} me=${me} />` : fe`<span class="faint">nobody yet</span>`}</dd>
    <dt>Price</dt><dd class="num">${usdc(task.price)} USDC</dd>
    ${task.parents.length > 0 && fe`<dt>After</dt><dd class="tags">${task.parents.map((name) => fe`<span class="tag" key=${name}>${name}</span>`)}</dd>`}
    ${task.judges.map((judge, at) => fe`<dt>${at ? "" : "Judged"}</dt><dd key=${judge.judge}><${Who2} did=${judge.judge} me=${me} /> <span class=${"badge " + (judge.verdict === "accept" ? "good" : "bad")}>${judge.verdict}</span>
      ${judge.reason && fe`<div class="faint">${judge.reason}</div>`}</dd>`)}
    ${task.ended.map((end) => fe`<dt>Attempt ${end.attempt + 1}</dt><dd>${end.cause}${end.reason && fe`<span class="faint">: ${end.reason}</span>`}</dd>`)}
    ${Object.entries(task.telemetry).map(([name, value]) => fe`<dt>${name.replace(/_/g, " ")}</dt><dd class="num">${value}</dd>`)}
    ${task.result && fe`<dt>Result</dt><dd><code>${task.result}</code></dd>`}</dl>`;
}

// node/dashboard/static/js/kinds.js
var PARTS = {
  NEED: "ask",
  PROPOSE: "agree",
  ATTEST_PLAN: "agree",
  DECIDE: "agree",
  UPDATE_PLAN: "agree",
  CLAIM: "work",
  COMMIT: "work",
  YIELD: "warn",
  RELEASE: "warn",
  ATTEST: "judge",
  FINALIZE: "done",
  CHALLENGE: "bad",
  INVALIDATE: "bad",
  REVIEW: "judge",
  RECONCILE: "warn",
  DAMAGED: "bad"
};
var partOf = (kind) => kind.startsWith("ESCROW") ? "ask" : PARTS[kind] || "other";
function KindMark({ kind }) {
  return fe`<span class=${"kind " + partOf(kind)}>${kind.replace(/_/g, " ").toLowerCase()}</span>`;
}

// node/dashboard/static/js/pages/need.js
var SHOWN = 60;
var ENDED = ["FINALIZED", "REFUNDED", "EXPIRED"];
function Tiles({ it }) {
  const paid = it.escrow.state === "none" ? "no escrow" : `escrow ${it.escrow.state}`;
  return fe`<div class="tiles">
    <${Tile} name="Tasks" value=${`${it.done}/${it.tasks.length}`} note=${it.done === it.tasks.length ? "all done" : "done"} />
    <${Tile} name="Paid" value=${usdc(it.paid)} unit="USDC" note=${`of ${usdc(it.budget)}, ${paid}`} />
    <${Tile} name="Decided after" value=${ms(it.decide_ms)} note=${it.decide_ms === null ? "no decision yet" : "from need to decision"} />
    <${Tile} name="Finished after" value=${ms(it.finalize_ms)} note=${it.finalize_ms === null ? ENDED.includes(it.state) ? "it did not finish" : `deadline ${ago(it.deadline_ns)}` : "from need to last result"} /></div>`;
}
function Plan({ need, live, me }) {
  const found = useRead("dashboard/needs/" + encodeURIComponent(need) + "/graph", null, { live });
  const [chosen, choose] = G("");
  return fe`<${Card} title="Plan" sub=${found.data ? plural(found.data.tasks.length, "task") : ""} bare><${Reading} of=${found} rows=${5}>${(plan) => {
    if (!plan.tasks.length) return fe`<${Empty} icon="needs" title="No plan yet">Planners propose one, and a committee decides.</${Empty}>`;
    const task = plan.tasks.find((each) => each.task === chosen);
    return fe`<div class="plan"><${Graph} tasks=${plan.tasks} chosen=${chosen} choose=${(name) => choose(name === chosen ? "" : name)} />
      <div class="task" role="group" aria-label="Chosen task" aria-live="polite">${task ? fe`<h3>${task.task}</h3><${TaskFacts} task=${task} Who=${Who} Badge=${Badge} me=${me} />` : fe`<p class="muted">Choose a task to see who works on it, what it costs and who judged it.</p>`}</div></div>`;
  }}</${Reading}></${Card}>`;
}
function Gate({ gate }) {
  if (!gate) return fe`<span class="faint">not recorded</span>`;
  if (gate.allow) return fe`<${Tone} of="good">allowed</${Tone}>`;
  return fe`<${Tone} of="bad">denied</${Tone}> <span class="faint">${gate.reasons.join(", ")}</span>`;
}
function Step({ step, first, me }) {
  const offset = step.at_ns && first ? (step.at_ns - first) / 1e6 : null;
  return fe`<li class=${"step" + (step.void ? " void" : "")}><details><summary>
      <${KindMark} kind=${step.kind} /><span class="grow text">${step.task && fe`<span class="tag">${step.task}</span> `}${step.text}</span>
      <span class="wide"><${Who} did=${step.sender} me=${me} size=${15} /></span>
      ${step.gate && !step.gate.allow && fe`<${Tone} of="bad">denied</${Tone}>`}${step.void && fe`<${Tone} of="warn">void</${Tone}>`}
      ${!step.verified && fe`<${Tone} of="bad">bad signature</${Tone}>`}
      <span class="num faint nowrap time">${offset === null ? "" : "+" + ms(Math.max(0, offset))}</span></summary>
    <dl class="pairs"><dt>Said by</dt><dd><${Who} did=${step.sender} me=${me} full /></dd><dt>At</dt><dd>${when(step.at_ns)}, lamport ${count2(step.lamport)}</dd>
      <dt>Signature</dt><dd>${step.verified ? "checked just now: it holds" : "does not hold"}</dd><dt>Our gate</dt><dd><${Gate} gate=${step.gate} /></dd>
      ${step.void && fe`<dt>Void</dt><dd>${step.void}</dd>`}<dt>Envelope</dt><dd><code>${step.id || "–"}</code></dd>
      ${step.refs.length > 0 && fe`<dt>Follows</dt><dd>${step.refs.map((ref) => fe`<div><code>${ref}</code></div>`)}</dd>`}
      ${step.trace && fe`<dt>Trace</dt><dd><code>${step.trace}</code></dd>`}</dl></details></li>`;
}
function Chain({ need, live, me }) {
  const found = useRead("dashboard/needs/" + encodeURIComponent(need) + "/why", null, { live });
  const [all, setAll] = G(false);
  return fe`<${Card} title="What happened, and why" sub="every signed statement, in causal order" bare><${Reading} of=${found} rows=${8}>${(why) => {
    const steps = all ? why.steps : why.steps.slice(0, SHOWN);
    const first = why.steps.find((step) => step.at_ns)?.at_ns;
    if (!steps.length) return fe`<${Empty} title="Nothing is on record">The statements about this need were pruned here.</${Empty}>`;
    return fe`<ol class="chain">${steps.map((step) => fe`<${Step} key=${step.id || step.text} step=${step} first=${first} me=${me} />`)}</ol>
      ${why.steps.length > SHOWN && !all && fe`<div class="pager"><span>${SHOWN} of ${count2(why.steps.length)} steps</span><span class="end">
        <button type="button" class="button" onClick=${() => setAll(true)}>Show all</button></span></div>`}`;
  }}</${Reading}></${Card}>`;
}
function Money({ it, me }) {
  const { escrow } = it;
  return fe`<${Card} title="Money" end=${escrow.state !== "none" && fe`<${Badge} state=${escrow.state} />`}>
    ${escrow.state === "none" ? fe`<p class="muted">No escrow of this need is known here.</p>` : fe`<dl class="pairs">
      <dt>Locked</dt><dd class="num">${usdc(escrow.amount)} USDC by <${Who} did=${it.owner} me=${me} /></dd>
      ${escrow.paid.map((pay) => fe`<dt key=${pay.task}>${pay.task}</dt><dd class="num">${usdc(pay.amount)} USDC to <${Who} did=${pay.worker} me=${me} /></dd>`)}
      ${it.held !== "0" && fe`<dt>Due</dt><dd class="num">${usdc(it.held)} USDC, when the challenge window ends</dd>`}
      <dt>Returned</dt><dd class="num">${usdc(escrow.returned)} USDC</dd></dl>`}
    ${it.anchor ? fe`<dl class="pairs anchor"><dt>Anchored</dt><dd>block ${count2(it.anchor.block)} of chain ${it.anchor.chain_id}, with ${plural(it.anchor.receipts, "receipt")}<br />
      <code>${it.anchor.tx_hash}</code> <${Copy} text=${it.anchor.tx_hash} label="Copy the transaction" /></dd></dl>` : null}</${Card}>`;
}
function Result({ it }) {
  const names = Object.keys(it.result);
  return fe`<${Card} title="Result">${names.length ? names.map((name) => fe`<div class="result" key=${name}><h3>${name}</h3>
        ${name in it.values ? fe`<pre tabindex="0" aria-label=${`Result of ${name}`}>${JSON.stringify(it.values[name], null, 2)}</pre>` : fe`<p class="muted">Its content is not on this host: <code>swarmd content get ${it.result[name]}</code></p>`}</div>`) : fe`<p class="muted">${ENDED.includes(it.state) ? it.reason || "It ended without a result." : "Nothing yet: results appear when they are accepted."}</p>`}</${Card}>`;
}
function Challenges({ it, me }) {
  if (!it.challenges.length) return null;
  return fe`<${Card} title="Challenges" bare><ul class="lines">${it.challenges.map((each) => fe`<li key=${each.challenge}><div class="line">
    <span class="grow"><b>${each.task}</b><span class="faint"> ${each.reason}</span><div><${Who} did=${each.challenger} me=${me} /> stakes ${usdc(each.bond)} USDC</div></span>
    <${Tone} of=${each.outcome === "pending" ? "busy" : each.outcome === "upheld" ? "bad" : "good"}>${each.outcome}</${Tone}></div></li>`)}</ul></${Card}>`;
}
function NeedPage({ at, overview }) {
  const me = overview.data?.did;
  const live = (event) => event.need === at.id || !event.need;
  const found = useRead("needs/" + encodeURIComponent(at.id), null, { live });
  const it = found.data;
  const crumb = { href: "#/needs", text: "Needs" };
  if (!it) return fe`<${PageHead} title=${at.id} crumb=${crumb} /><div class="card"><${Reading} of=${found} rows=${6}>${() => null}</${Reading}></div>`;
  const sub = it.waiting_for ? `Waits for ${it.waiting_for}.` : it.reason ? `Ended: ${it.reason}.` : "";
  return fe`<${PageHead} crumb=${crumb} title=${it.title || it.need} badge=${fe`<${Badge} state=${it.state} />`}
      sub=${fe`<span class="headline"><code>${it.need}</code><${Copy} text=${it.need} label="Copy the need's id" /> posted <${Ago} ns=${it.created_ns} /> by <${Who} did=${it.owner} me=${me} />${sub && fe`<br />${sub}`}</span>`} />
    <div class="stack"><${Tiles} it=${it} />
      <${Plan} need=${it.need} live=${live} me=${me} />
      <${Challenges} it=${it} me=${me} />
      <div class="grid"><div class="w8"><${Chain} need=${it.need} live=${live} me=${me} /></div>
        <div class="w4 stack"><${Result} it=${it} /><${Money} it=${it} me=${me} /></div></div></div>`;
}

// node/dashboard/static/js/pages/needs.js
var LIMIT2 = 50;
var STATES2 = [["", "All"], ["active", "Active"], ["finalized", "Finalized"], ["refunded", "Refunded"], ["expired", "Expired"]];
var columns2 = (me) => [
  { name: "Need", title: true, cell: (need) => fe`<a href=${needHref(need.need)}>${need.title || need.need}</a><span>${need.waiting_for ? `waits for ${need.waiting_for}` : need.need}</span>` },
  { name: "State", cell: (need) => fe`<${Badge} state=${need.state} />` },
  { name: "Tasks", wide: true, cell: (need) => fe`<${Bar} part=${need.done} of=${need.tasks} label="Tasks done" />` },
  { name: "Owner", wide: true, cell: (need) => fe`<${Who} did=${need.owner} me=${me} />` },
  { name: "Paid of budget", wide: true, right: true, cell: (need) => fe`<span class="num nowrap">${usdc(need.paid)} <span class="faint">of ${usdc(need.budget)}</span></span>` },
  { name: "Posted", right: true, cell: (need) => fe`<${Ago} ns=${need.created_ns} />` }
];
function Needs({ at, overview }) {
  const { state = "", q: q2 = "", mine = "", offset = "0" } = at.params;
  const me = overview.data?.did;
  const start = Math.max(0, Math.floor(Number(offset)) || 0);
  const waits = mine && !me;
  const found = useRead(waits ? null : "dashboard/needs", { state, q: q2, owner: mine ? me : "", offset: start, limit: LIMIT2 }, { live: () => true, every: 3e4 });
  const filtered = state || q2 || mine;
  return fe`<${PageHead} title="Needs" sub="What somebody asks for, and how far it has come." />
    <div class="toolbar"><${SearchField} value=${q2} label="Title or id of a need" onChange=${(text) => setParams({ q: text, offset: "" }, { replace: true })} />
      <${Choices} label="State" value=${state} options=${STATES2} onChange=${(next) => setParams({ state: next, offset: "" })} />
      <${Choices} label="Owner" value=${mine} options=${[["", "Everybody's"], ["1", "Mine"]]} onChange=${(next) => setParams({ mine: next, offset: "" })} /></div>
    <section class="card" aria-label="Needs" aria-busy=${String(found.loading)}><${Reading} of=${found} rows=${10}>${(page) => page.needs.length ? fe`<${Table} label="Needs" columns=${columns2(me)} rows=${page.needs} keyOf=${(need) => need.need} />
          <${Pager} offset=${page.offset} limit=${page.limit} total=${page.total} onMove=${(next) => setParams({ offset: next || "" })}
            note=${page.searched === "live" ? "without needs that a checkpoint closed" : ""} />` : filtered || start ? fe`<${Empty} icon="search" title="No need fits">Try another state, fewer letters, or everybody's needs.
              Needs that a checkpoint closed are found by their whole id.<br /><a href=${q2.startsWith("need-") ? needHref(q2) : "#/needs"}>${q2.startsWith("need-") ? `Open ${q2}` : "Show all needs"}</a></${Empty}>` : fe`<${Empty} icon="needs" title="No needs yet" command="swarmd need post text.wordcount --text text=@README.md --budget 1.00">
              A need says what is wanted and locks the money for it.</${Empty}>`}</${Reading}></section>`;
}

// node/dashboard/static/js/pages/overview.js
var STATES3 = ["RUNNING", "DECIDED", "PROPOSED", "OPEN", "FINALIZED", "REFUNDED", "EXPIRED"];
function headline(it) {
  const { urgent, soon } = it.review;
  if (it.trouble) return "The disk takes nothing more: the node waits.";
  if (urgent) return `${plural(urgent, "matter")} cannot wait: see the review queue.`;
  if (!it.peers && it.known <= 1) return "Alone so far: this node knows of no other.";
  if (!it.peers) return `Cut off: ${plural(it.known - 1, "node")} known, none connected.`;
  if (soon) return `Working, with ${plural(soon, "matter")} to look at.`;
  return it.active ? `All well: ${plural(it.active, "need")} in work.` : "All well, and nothing to do.";
}
function Tiles2({ it }) {
  const done = it.needs.FINALIZED || 0;
  const ended = done + (it.needs.REFUNDED || 0) + (it.needs.EXPIRED || 0);
  const { available, locked, earned } = it.balance;
  return fe`<div class="tiles">
    <${Tile} name="Active needs" value=${count2(it.active)} note=${`of ${count2(it.total)} known`} href="#/needs?state=active" />
    <${Tile} name="Finalized" value=${percent(done, ended)} note=${`${count2(done)} of ${count2(ended)} that ended`} href="#/needs?state=finalized" />
    <${Tile} name="Balance" value=${usdc(available)} unit="USDC" note=${`${usdc(locked)} locked · ${usdc(earned)} earned`} href="#/ledger" />
    <${Tile} name="Peers" value=${count2(it.peers)} note=${`${count2(it.known)} nodes known`} href="#/peers" />
    <${Tile} name="Agents" value=${`${it.agents.ready}/${it.agents.total}`} note=${it.agents.running ? `${plural(it.agents.running, "job")} running` : "none at work"} href="#/agents" />
    <${Tile} name="To review" value=${count2(it.review.urgent + it.review.soon + it.review.note)} note=${it.review.urgent ? `${it.review.urgent} urgent` : "nothing urgent"} href="#/review" />
  </div>`;
}
function Overview({ overview }) {
  const it = overview.data;
  const events = useStore(feed);
  return fe`<${PageHead} title=${it ? it.mesh.name : "Overview"} sub=${it ? headline(it) : "Asking the node …"}
      actions=${it && fe`<${Who} did=${it.did} /><${Copy} text=${it.did} label="Copy this node's DID" />`} />
    <${Reading} of=${overview} rows=${8}>${(data) => fe`<div class="stack">
      <${Tiles2} it=${data} />
      <div class="grid">
        <div class="w7 stack">
          <${Card} title="Last 24 hours" sub="needs by the hour they came"><${Columns} hours=${data.hours} /></${Card}>
          <${Card} title="Latest needs" bare end=${fe`<a href="#/needs">All needs</a>`}>
            ${data.recent.length ? fe`<ul class="lines">${data.recent.map((need) => fe`<li key=${need.need}>
              <a class="line" href=${needHref(need.need)}><span class="grow"><b class="clip">${need.title || need.need}</b>
                <span class="clip faint">${need.waiting_for ? `waits for ${need.waiting_for}` : need.need}</span></span>
                <span class="wide"><${Bar} part=${need.done} of=${need.tasks} label="Tasks done" /></span>
                <${Badge} state=${need.state} /></a></li>`)}</ul>` : fe`<${Empty} icon="needs" title="No needs yet" command="swarmd need post text.wordcount --text text=@README.md --budget 1.00">
                  Post one, and watch the mesh plan it, do it and check it.</${Empty}>`}
          </${Card}>
        </div>
        <div class="w5 stack">
          <${Card} title="Happening now" bare>
            ${events.length ? fe`<ol class="feed" aria-live="off">${events.slice(0, 12).map((event) => fe`<li key=${event.key}>
              <${KindMark} kind=${event.kind} /><span class="grow"><a class="clip" href=${needHref(event.need)}>${event.text || event.kind}</a>
              <span class="clip faint">${[event.task, event.need].filter(Boolean).join(" · ")}</span></span><${Ago} ns=${event.at_ns} /></li>`)}</ol>` : fe`<${Empty} title="Quiet right now">What nodes say about needs appears here as it is said.</${Empty}>`}
          </${Card}>
          <${Card} title="The node"><dl class="pairs">
            <dt>States</dt><dd class="tags">${STATES3.filter((s2) => data.needs[s2]).map((s2) => fe`<${Badge} key=${s2} state=${s2} word=${`${stateWord(s2)} ${count2(data.needs[s2])}`} />`)}
              ${!Object.keys(data.needs).length && fe`<span class="faint">no needs</span>`}</dd>
            <dt>Consensus</dt><dd>epoch ${data.epoch}${data.bootstrap ? ", bootstrap mode" : ""}, ${data.pool.mine === "none" ? "not a verifier" : `verifier (${data.pool.mine})`}</dd>
            <dt>Policy</dt><dd><a href="#/policy"><code>${data.policy_hash.slice(0, 12)}</code></a></dd>
            <dt>Chain</dt><dd>${data.chain.kind || "none"}, ${data.chain.state || "unknown"}${data.chain.head ? `, block ${count2(data.chain.head)}` : ""}</dd>
            <dt>Peer ID</dt><dd><code>${data.peer_id}</code></dd></dl></${Card}>
        </div>
      </div></div>`}</${Reading}>`;
}

// node/dashboard/static/js/pages/peers.js
var MAP_MOST = 60;
function distance(node) {
  if (!node.connected) return 1;
  const rtt = node.connected.rtt_ms ?? 50;
  return 0.3 + 0.45 * Math.min(1, Math.log10(1 + rtt) / 3);
}
function Map2({ nodes, me }) {
  const others = nodes.filter((node) => !node.me).sort((a2, b2) => Number(!a2.connected) - Number(!b2.connected)).slice(0, MAP_MOST);
  const half = 150;
  const spots = others.map((node, at) => {
    const angle = 2 * Math.PI * at / Math.max(1, others.length) - Math.PI / 3;
    const far = distance(node) * (half - 22);
    return { node, x: Math.cos(angle) * far * 1.55, y: Math.sin(angle) * far };
  });
  const connected = others.filter((node) => node.connected).length;
  return fe`<figure class="map"><svg viewBox=${`${-half * 1.6} ${-half} ${half * 3.2} ${half * 2}`} role="img" aria-label=${`${connected} connected of ${plural(others.length, "other node")}; the nearer, the shorter the round trip`}>
    ${[0.45, 0.75].map((share) => fe`<ellipse class="ring" rx=${share * (half - 22) * 1.55} ry=${share * (half - 22)} />`)}
    ${spots.map(({ node, x: x2, y: y2 }) => node.connected && fe`<line key=${node.did} class="tie" x1="0" y1="0" x2=${x2} y2=${y2} stroke-width=${0.8 + 1.8 * node.connected.score} />`)}
    ${spots.map(({ node, x: x2, y: y2 }) => fe`<g key=${node.did} class=${"spot" + (node.connected ? "" : " far") + (node.verifier ? " verifier" : "")} transform=${`translate(${x2} ${y2})`}><title>${node.did}</title>
      <circle r="9" />${node.verifier && fe`<path d="M-3.500 0.200 -1 2.700 3.800 -2.600" />`}<text y="22" text-anchor="middle">${short(node.did).slice(0, 8)}</text></g>`)}
    <g class="spot own"><title>this node</title><circle r="13" /><text y="27" text-anchor="middle">this node</text></g></svg>
    <figcaption class="legend"><span><i class="open"></i>connected</span><span><i class="far"></i>known, not connected</span><span><i class="finalized"></i>verifier</span></figcaption></figure>`;
}
var columns3 = (me) => [
  { name: "Node", cell: (node) => fe`<${Who} did=${node.did} me=${me} />` },
  { name: "Link", cell: (node) => node.me ? fe`<span class="faint">–</span>` : node.connected ? fe`<${Tone} of=${node.connected.state === "banned" ? "bad" : "good"}>${node.connected.rtt_ms === null ? "connected" : ms(node.connected.rtt_ms)}</${Tone}>` : fe`<${Tone}>not connected</${Tone}>` },
  { name: "Reputation", wide: true, cell: (node) => fe`<${Score} value=${node.reputation} label="Reputation" />` },
  { name: "Peer score", wide: 2, cell: (node) => node.connected ? fe`<${Score} value=${Math.round(100 * node.connected.score)} label="Peer score" />` : fe`<span class="faint">–</span>` },
  { name: "Role", cell: (node) => node.verifier ? fe`<${Tone} of="accent">verifier</${Tone}>` : fe`<span class="faint">${node.pool === "none" ? "worker" : node.pool}</span>` },
  { name: "Offers", wide: true, cell: (node) => node.offers.length ? fe`<span class="tags">${node.offers.slice(0, 2).map((name) => fe`<span class="tag" key=${name}>${name}</span>`)}${node.offers.length > 2 && fe`<span class="faint">+${node.offers.length - 2}</span>`}</span>` : fe`<span class="faint">nothing</span>` },
  { name: "Traffic", wide: true, right: true, cell: (node) => node.connected ? fe`<span class="num nowrap">${bytes(node.connected.bytes_in)} in<br />${bytes(node.connected.bytes_out)} out</span>` : fe`<span class="faint nowrap">heard <${Ago} ns=${node.heard_ns} /></span>` }
];
function Peers() {
  const found = useRead("dashboard/mesh", null, { every: 5e3 });
  return fe`<${PageHead} title="Peers" sub="Everybody this node knows of, how near they are, and how they have done." />
    <${Reading} of=${found} rows=${8}>${(mesh) => {
    const others = mesh.nodes.filter((node) => !node.me);
    const connected = others.filter((node) => node.connected);
    const dropped = Object.entries(mesh.dropped || {});
    const longest = Math.max(0, ...connected.map((node) => node.connected.connected_s));
    return fe`<div class="stack"><div class="grid"><div class="w7"><${Card} title="Map" sub="nearer means a shorter round trip">
          ${others.length ? fe`<${Map2} nodes=${mesh.nodes} me=${mesh.me} />` : fe`<${Empty} icon="peers" title="Nobody else yet" command="swarmd invite">
            Invite a node: this prints a ticket, which <code>swarmd join</code> takes on the other host. If you expected somebody, <code>swarmd doctor net</code> says why nobody is found.</${Empty}>`}</${Card}></div>
        <div class="w5"><${Card} title="Connections"><dl class="pairs"><dt>Connected</dt><dd class="num">${count2(connected.length)} of ${count2(others.length)} known</dd>
          <dt>Longest</dt><dd>${longest ? span(longest) : "–"}</dd><dt>Peer ID</dt><dd><code>${mesh.peer_id}</code></dd>
          <dt>Listens at</dt><dd>${mesh.addrs.length ? mesh.addrs.slice(0, 6).map((addr) => fe`<div><code>${addr}</code></div>`) : "nowhere"}</dd>
          <dt>Refused</dt><dd>${dropped.length ? dropped.map(([why, n2]) => fe`<div class="num">${why.replace(/-/g, " ")}: ${count2(n2)}</div>`) : "nothing"}</dd></dl></${Card}></div></div>
        <${Card} title="Nodes" bare><${Table} label="Nodes" columns=${columns3(mesh.me)} rows=${mesh.nodes} keyOf=${(node) => node.did} /></${Card}></div>`;
  }}</${Reading}>`;
}

// node/dashboard/static/js/pages/policy.js
var GATES = [["preflight", "Before we speak"], ["ingress", "What comes in"], ["commit", "Before we attest"]];
var columns4 = (me) => [
  { name: "Verdict", cell: (row) => row.allow ? fe`<${Tone} of="good">allowed</${Tone}>` : fe`<${Tone} of="bad">denied</${Tone}>` },
  { name: "Statement", title: true, cell: (row) => fe`<a href=${needHref(row.need)}>${row.text}</a>
    <span>${row.allow ? row.need : row.reasons.join(", ") || "no reason given"}</span>` },
  { name: "Kind", wide: true, cell: (row) => fe`<${KindMark} kind=${row.kind} />` },
  { name: "Said by", wide: true, cell: (row) => fe`<${Who} did=${row.sender} me=${me} />` },
  { name: "Gas", wide: true, right: true, cell: (row) => fe`<span class="num">${count2(row.gas)}</span>` },
  { name: "When", right: true, cell: (row) => fe`<${Ago} ns=${row.at_ns} />` }
];
function Verdicts({ denied, me }) {
  const found = useRead("dashboard/verdicts", { denied: denied ? "true" : "", limit: 50 }, { live: () => true });
  const [older, setOlder] = G({ rows: [], next: void 0, busy: false });
  J(() => setOlder({ rows: [], next: void 0, busy: false }), [denied]);
  return fe`<${Reading} of=${found} rows=${8}>${(page) => {
    const seen = new Set(page.verdicts.map((row) => row.id));
    const rows = [...page.verdicts, ...older.rows.filter((row) => !seen.has(row.id))];
    const next = older.next === void 0 ? page.next : older.next;
    const more = async () => {
      setOlder({ ...older, busy: true });
      const got = await read("dashboard/verdicts", { denied: denied ? "true" : "", limit: 50, before: next }).catch(() => null);
      setOlder(got ? { rows: [...older.rows, ...got.verdicts], next: got.next, busy: false } : { ...older, busy: false });
    };
    return fe`${rows.length ? fe`<${Table} label="Verdicts" columns=${columns4(me)} rows=${rows} keyOf=${(row) => row.id} />` : fe`<${Empty} icon="policy" title=${denied ? "Nothing was denied lately" : "No verdicts yet"}>${denied ? "Everything that came in is allowed by the policy in force." : "Each statement that comes in is judged by your policy before anything else happens."}</${Empty}>`}
      ${next !== null && next !== void 0 && fe`<div class="pager"><span>${plural(rows.length, "verdict")} so far</span><span class="end">
        <button type="button" class="button" disabled=${older.busy} onClick=${more}>${denied ? "Look further back" : "Older"}</button></span></div>`}`;
  }}</${Reading}>`;
}
function Policy({ at, overview }) {
  const denied = at.params.denied === "1";
  const it = overview.data;
  return fe`<${PageHead} title="Policy" sub="What this node says, takes in and attests is judged by its operator's policy, on this host." />
    <div class="stack"><${Reading} of=${overview} rows=${3}>${(data) => {
    const sum = (gate) => [data.gates[gate + "-allow"] || 0, data.gates[gate + "-deny"] || 0];
    const more = Object.entries(data.gates).filter(([name]) => name.startsWith("digests-"));
    return fe`<div class="tiles">${GATES.map(([gate, name]) => {
      const [allow, deny] = sum(gate);
      return fe`<${Tile} key=${gate} name=${name} value=${count2(allow + deny)} unit="verdicts" note=${deny ? `${count2(deny)} denied (${percent(deny, allow + deny)})` : "none denied"} />`;
    })}<${Tile} name="In force" value=${fe`<code class="hash">${data.policy_hash.slice(0, 10)}</code>`} note=${fe`since this start <${Copy} text=${data.policy_hash} label="Copy the policy's hash" />`} /></div>
        ${more.length > 0 && fe`<${Card} title="Others' digests" sub="verdicts that senders claim, computed again here"><${Bars} label="Digests" rows=${more.map(([name, n2]) => ({ name: name.slice(8).replace(/-/g, " "), value: n2, text: count2(n2) }))} /></${Card}>`}`;
  }}</${Reading}>
    <${Card} title="Verdicts" bare end=${fe`<${Choices} label="Verdicts" value=${denied ? "1" : ""} options=${[["", "All"], ["1", "Denied"]]} onChange=${(next) => setParams({ denied: next })} />`}>
      <${Verdicts} denied=${denied} me=${it?.did} /></${Card}></div>`;
}

// node/dashboard/static/js/pages/review.js
var TONES2 = { urgent: "bad", soon: "warn", note: "" };
var WORDS3 = { urgent: "Urgent", soon: "Soon", note: "For your notice" };
var COMMAND = /swarmd [a-z]+ [a-z]+(?: [\w.-]+)?|swarmd why [\w-]+/;
function Item({ item }) {
  const command = COMMAND.exec(item.fix);
  return fe`<li class="card item"><div class="row"><${Tone} of=${TONES2[item.urgency]}>${WORDS3[item.urgency]}</${Tone}><span class="tag">${item.code}</span><span class="grow"></span><${Ago} ns=${item.at_ns} /></div>
    <h2>${item.need ? fe`<a href=${needHref(item.need)}>${item.title}</a>` : item.title}</h2>
    <p>${item.detail}</p>${item.who && fe`<p class="muted"><${Who} did=${item.who} /></p>`}
    <p class="muted">${item.fix}</p>${command && fe`<${Command} text=${command[0]} />`}</li>`;
}
function Review({ at }) {
  const found = useRead("dashboard/review", null, { live: () => true, every: 1e4 });
  const wanted = at.params.urgency || "";
  return fe`<${PageHead} title="Review" sub="Matters that wait for a person: challenges, needs that are stuck or failed, agents that are down, peers that contradicted themselves." />
    <${Reading} of=${found} rows=${5}>${({ items, total }) => {
    const shown = wanted ? items.filter((item) => item.urgency === wanted) : items;
    const number = (urgency) => items.filter((item) => item.urgency === urgency).length;
    return fe`<div class="toolbar"><${Choices} label="Urgency" value=${wanted} onChange=${(next) => setParams({ urgency: next })}
          options=${[["", `All ${count2(total)}`], ...Object.keys(WORDS3).map((key) => [key, `${WORDS3[key]} ${number(key)}`])]} /></div>
        ${shown.length ? fe`<ul class="items">${shown.map((item, index) => fe`<${Item} key=${item.code + item.need + item.task + item.who + index} item=${item} />`)}</ul>` : fe`<div class="card"><${Empty} icon="check" title="Nothing waits for you">Challenges of your work, stuck needs and failing agents appear here, with what to do about each.</${Empty}></div>`}`;
  }}</${Reading}>`;
}

// node/dashboard/static/js/app.js
var PAGES = [
  { id: "overview", name: "Overview", key: "o", page: Overview },
  { id: "needs", name: "Needs", key: "n", page: Needs, one: NeedPage },
  { id: "escrows", name: "Escrows", key: "e", icon: "escrow", page: Escrows, one: EscrowPage },
  { id: "review", name: "Review", key: "r", page: Review },
  { id: "peers", name: "Peers", key: "p", title: "Mesh", page: Peers },
  { id: "agents", name: "Agents", key: "a", page: Agents },
  { id: "policy", name: "Policy", key: "v", page: Policy },
  { id: "ledger", name: "Ledger", key: "l", title: "Money", page: Ledger },
  { id: "analytics", name: "Analytics", key: "y", page: Analytics }
];
function Missing() {
  return fe`<${PageHead} title="No such page" /><div class="card"><${Empty} icon="search" title="There is nothing here"><a href="#/overview">Go to the overview</a></${Empty}></div>`;
}
function pageAt(at) {
  const entry = PAGES.find((each) => each.id === at.page);
  return (at.id ? entry?.one || entry?.page : entry?.page) || Missing;
}
function toggleTheme() {
  const root2 = document.documentElement;
  const next = root2.dataset.theme === "dark" ? "light" : "dark";
  root2.dataset.theme = next;
  try {
    localStorage.setItem("swarmd-theme", next);
  } catch {
  }
}
function useTheme() {
  const [theme, set] = G(document.documentElement.dataset.theme);
  J(() => {
    const watcher = new MutationObserver(() => set(document.documentElement.dataset.theme));
    watcher.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => watcher.disconnect();
  }, []);
  return theme;
}
var LIVE = { on: ["on", "Live"], wait: ["wait", "Connecting"], off: ["off", "Not live"] };
function LiveDot() {
  const found = useStore(streaming);
  const [kind, word] = LIVE[found];
  return fe`<span class=${"live " + kind} role="status"><i></i>${word}</span>`;
}
function Count({ page, overview }) {
  if (!overview) return null;
  if (page === "review") {
    const { urgent, soon } = overview.review;
    if (!urgent && !soon) return null;
    return fe`<span class=${"count " + (urgent ? "bad" : "warn")} aria-label=${`${urgent + soon} open`}>${urgent + soon}</span>`;
  }
  if (page === "needs" && overview.active) return fe`<span class="count" aria-label=${`${overview.active} active`}>${overview.active}</span>`;
  return null;
}
function Side({ open, close, at, overview }) {
  const theme = useTheme();
  return fe`<aside class=${"side" + (open ? " open" : "")} id="side">
    <a class="brand" href="#/overview" onClick=${close}><${Mark} /><div class="grow"><b>swarmd</b><span class="clip">${overview ? overview.mesh.name : " "}</span></div></a>
    <nav class="nav" aria-label="Pages">
      ${PAGES.map((page) => fe`${page.title && fe`<div class="nav-title">${page.title}</div>`}
        <a href=${"#/" + page.id} aria-current=${at.page === page.id ? "page" : void 0} onClick=${close}>
          <${Icon} name=${page.icon || page.id} />${page.name}<${Count} page=${page.id} overview=${overview} /></a>`)}
    </nav>
    <div class="side-foot">
      <div class="row"><${LiveDot} /><span class="grow"></span>
        <button type="button" class="button quiet" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick=${() => showKeys()}><${Icon} name="keys" /></button>
        <button type="button" class="button quiet" aria-label=${theme === "dark" ? "Light theme" : "Dark theme"} title="Theme (t)" onClick=${toggleTheme}>
          <${Icon} name=${theme === "dark" ? "sun" : "moon"} /></button></div>
      ${overview && fe`<div class="row faint">v${overview.version}<span>·</span>epoch ${overview.epoch}</div>`}
    </div></aside>`;
}
function showKeys() {
  const dialog = document.getElementById("keys");
  if (dialog && !dialog.open) dialog.showModal();
}
function Keys() {
  const rows = [["/", "Search needs"], ["t", "Light or dark"], ["?", "This help"], ["Esc", "Close, or leave a field"], ...PAGES.map((page) => ["g " + page.key, page.name])];
  return fe`<dialog id="keys" aria-labelledby="keys-title"><header><h2 id="keys-title">Keyboard shortcuts</h2>
    <button type="button" class="button quiet" aria-label="Close" onClick=${(event) => event.currentTarget.closest("dialog").close()}><${Icon} name="cross" /></button></header>
    <dl>${rows.map(([keys, text]) => fe`<dt>${keys.split(" ").map((key) => fe`<kbd>${key}</kbd> `)}</dt><dd>${text}</dd>`)}</dl></dialog>`;
}
var WRITES = /^(INPUT|TEXTAREA|SELECT)$/;
function useKeys(closeMenu) {
  J(() => {
    let after = 0;
    const pressed = (event) => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      const field = WRITES.test(event.target.tagName);
      if (event.key === "Escape") {
        if (field) event.target.blur();
        closeMenu();
        return;
      }
      if (field || document.querySelector("dialog[open]")) return;
      const going = Date.now() - after < 1200;
      after = 0;
      if (going) {
        const page = PAGES.find((each) => each.key === event.key);
        if (page) {
          event.preventDefault();
          go("#/" + page.id);
        }
      } else if (event.key === "g") after = Date.now();
      else if (event.key === "t") toggleTheme();
      else if (event.key === "?") showKeys();
      else if (event.key === "/") {
        event.preventDefault();
        const search = document.getElementById("search");
        if (search) search.focus();
        else {
          go("#/needs");
          focusSoon("search");
        }
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
function focusSoon(id, tries = 20) {
  const found = document.getElementById(id);
  if (found) found.focus();
  else if (tries) setTimeout(() => focusSoon(id, tries - 1), 50);
}
function Locked({ problem }) {
  const ended = problem.code === "session-expired" || problem.code === "token-expired";
  return fe`<main class="main" id="main"><h1 class="hidden">Log in</h1><${Empty} icon="lock" title=${ended ? "Your session has ended" : "Log in from the command line"} command="swarmd dashboard">
    ${ended ? "Sessions last twelve hours, and end when the daemon does. " : "Only whoever may use this node's socket may see what it does. "}
    Run this on the node's host: it prints a link that opens the dashboard once, within a minute.</${Empty}></main>`;
}
function DownBanner() {
  const { state, problem } = useStore(link);
  J(() => {
    if (state !== "down") return void 0;
    const clock = setInterval(() => read("dashboard/overview").catch(() => {
    }), 2e3);
    return () => clearInterval(clock);
  }, [state]);
  if (state !== "down") return null;
  return fe`<div class="banner bad" role="alert"><${Icon} name="plug" /><b>The daemon does not answer.</b>
    <span>What you see may be old. Start it with <code>${problem.fix}</code>; this page connects again by itself.</span></div>`;
}
function App() {
  const at = useStore(place);
  const { state, problem } = useStore(link);
  const [open, setOpen] = G(false);
  const overview = useRead("dashboard/overview", null, { live: () => true, every: 15e3 });
  const Page = pageAt(at);
  const main = Q(null);
  const first = Q(true);
  useKeys(() => setOpen(false));
  const shown = overview.data !== null;
  J(() => {
    if (shown) performance.mark("first-view");
  }, [shown]);
  J(() => {
    const entry = PAGES.find((each) => each.id === at.page);
    document.title = (entry ? entry.name + " · " : "") + "swarmd";
    if (!first.current) {
      scrollTo(0, 0);
      if (!main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [at.page, at.id]);
  J(() => {
    if (state === "locked") disconnect();
    else if (state === "ok") connect();
  }, [state]);
  if (state === "locked") return fe`<${Locked} problem=${problem} />`;
  return fe`<a class="skip" href="#main" onClick=${(event) => {
    event.preventDefault();
    main.current.focus();
  }}>Skip to the page</a>
    <div class="shell">
      <header class="phone-bar"><button type="button" class="button quiet" aria-label="Menu" aria-expanded=${String(open)} aria-controls="side" onClick=${() => setOpen(!open)}>
        <${Icon} name="menu" /></button><a class="brand" href="#/overview"><${Mark} size=${24} /><b>swarmd</b></a><${LiveDot} /></header>
      ${open && fe`<button type="button" class="scrim" aria-label="Close the menu" onClick=${() => setOpen(false)}></button>`}
      <${Side} open=${open} close=${() => setOpen(false)} at=${at} overview=${overview.data} />
      <main class="main" id="main" tabindex="-1" ref=${main} data-page=${at.page}>
        <${DownBanner} />
        <${Page} at=${at} overview=${overview} key=${at.page + "/" + at.id} />
      </main></div>
    <${Keys} /><div id="toast" class="toast" role="status" hidden></div>`;
}
var FIRST_MS = 200;
await readAhead("dashboard/overview", FIRST_MS);
var root = document.getElementById("app");
root.replaceChildren();
M(fe`<${App} />`, root);
