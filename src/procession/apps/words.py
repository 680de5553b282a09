"""Numbers, sizes, times and names as people read them."""


def human_bytes(size_bytes: float) -> str:
    """`1536` to `1.5 kB`."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        # 999.95 would be shown as 1000.0.
        if size < 999.95 or unit == "TB":
            break
        size /= 1000
    return f"{size_bytes:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def human_duration(seconds: float) -> str:
    """`65.2` to `1 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole_s = round(seconds)
    if whole_s < 60:
        return f"{whole_s} s"
    minutes, rest_s = divmod(whole_s, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def human_rate(per_s: float) -> str:
    """`82.13` to `82.1`."""
    return f"{per_s:.1f}" if per_s < 100 else f"{per_s:,.0f}"


def counted(count: int, word: str) -> str:
    """`3 failed`; empty for none."""
    return f"{count:,} {word}" if count else ""


def joined(*parts: str) -> str:
    """Those parts that are not empty, with commas between them."""
    return ", ".join(filter(None, parts))


def printable(name: str) -> str:
    """`name` on one line and in any encoding's reach: control characters and bytes that are not text become escapes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
