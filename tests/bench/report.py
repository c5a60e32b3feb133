"""What comes out: the table on standard output, JSON, Markdown, the picture."""
import os
import re
import tempfile
import time
from pathlib import Path

from sides import CHECKOUT, Wrong, command


def plural(count, noun):
    return f"{count} {noun}" + ("" if count == 1 else "s")


def figure(value):
    if value is None:
        return "-"
    if value >= 10000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


HEADING = f"{'':<72} {'unit':>8} {'ext4':>10} {'min. FUSE':>10} {'topicfs':>10} {'/ext4':>6} {'/FUSE':>6}  target"


def ratio(row, against):
    medians = row["medians"]
    return f"{medians['topicfs'] / medians[against]:.2f}" if against in medians else ""


def aims(row, missed):
    """The row's targets in words."""
    sign = "<=" if row["better"] == "lower" else ">="
    return ", ".join(f"{sign} {target['bound']:g}{' x ' + target['against'] if target['against'] else ''}: "
                     f"{'met' if target['met'] else missed}" for target in row["targets"])


def beside(row):
    """What topicfs stands beside in this row, when it is neither ext4 nor the minimal filesystem."""
    return next((side for side in row["medians"] if side not in ("ext4", "minimal", "topicfs")), None)


def line(row):
    medians, other = row["medians"], beside(row)
    name = row["name"] + (f", beside {other}" if other else "")
    return (f"{name:<72} {row['unit']:>8} {figure(medians.get(other or 'ext4')):>10} "
            f"{figure(medians.get('minimal')):>10} {figure(medians['topicfs']):>10} "
            f"{ratio(row, other or 'ext4'):>6} {ratio(row, 'minimal'):>6}  {aims(row, 'MISSED')}").rstrip()


def markdown(rows):
    """The rows as tables: those beside ext4, those beside something else, those that stand alone."""
    def table(heading, chosen, cells):
        if not chosen:
            return []
        rule = "|---|---|" + "---:|" * (len(heading) - 3) + "---|"
        lines = ["| " + " | ".join(heading) + " |", rule]
        for row in chosen:
            goals = aims(row, "**missed**").replace(">=", "≥").replace("<=", "≤").replace(" x ", " × ")
            lines.append("| " + " | ".join([row["name"], row["unit"].replace("us", "µs"), *cells(row), goals]) + " |")
        return lines + [""]

    def number(row, side):
        return figure(row["medians"][side]) if side in row["medians"] else ""

    live = [row for row in rows if "ext4" in row["medians"]]
    others = [row for row in rows if beside(row)]
    alone = [row for row in rows if row not in live and row not in others]
    return "\n".join(
        table(["what", "unit", "ext4", "minimal FUSE", "topicfs", "× ext4", "× FUSE", "target"], live,
              lambda row: [number(row, "ext4"), number(row, "minimal"), number(row, "topicfs"), ratio(row, "ext4"),
                           ratio(row, "minimal")])
        + table(["what", "unit", "beside", "its figure", "topicfs", "ratio", "target"], others,
                lambda row: [beside(row), number(row, beside(row)), number(row, "topicfs"), ratio(row, beside(row))])
        + table(["what", "unit", "topicfs", "target"], alone, lambda row: [number(row, "topicfs")]))


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    try:
        commit = command("git", "-C", CHECKOUT, "rev-parse", "--short", "HEAD").strip()
    except (Wrong, OSError):  # a release, not a clone; or a machine without git
        commit = None
    return {"cpus": os.cpu_count(), "cpu": model[1] if model else "unknown", "kernel": os.uname().release,
            "commit": commit or "unknown", "when": time.strftime("%Y-%m-%d", time.gmtime())}


def draw(rows, svg):
    """Bars of topicfs relative to ext4 and to the minimal filesystem, so drawn that longer is always better."""
    rows = [row for row in rows if "ext4" in row["medians"] and "minimal" in row["medians"]]
    if not rows:
        return

    def bar(row, against):
        quotient = row["medians"]["topicfs"] / row["medians"][against]
        return 1 / quotient if row["better"] == "lower" else quotient

    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "ratios"
        data.write_text("".join(f"\"{row['name']}\"\t{bar(row, 'ext4')}\t{bar(row, 'minimal')}\n"
                                for row in reversed(rows)), encoding="utf-8")
        height = 110 + 34 * len(rows)
        command("gnuplot", input=f"""
            set terminal svg noenhanced size 1100,{height} font 'sans-serif,12' background 'white'
            set output '{svg}'
            set datafile separator '\\t'
            set title 'topicfs relative to ext4 and to a minimal FUSE filesystem (longer is better)' \\
                offset screen -0.2,0
            set xrange [0.01:20]; set logscale x
            set xtics ('1/100' 0.01, '1/10' 0.1, '1/5' 0.2, '1/2' 0.5, '1' 1, '2' 2, '5' 5, '10' 10)
            set yrange [-0.7:{len(rows) - 0.3}]
            set lmargin screen 0.47; set rmargin screen 0.98
            set grid xtics; set key bottom right outside horizontal center
            set arrow from 1,graph 0 to 1,graph 1 nohead lw 2 lc rgb '#444444'
            set style fill solid
            plot '{data}' using (0.01):($0+0.16):(0.01):2:($0+0.01):($0+0.31):ytic(1) with boxxyerror \\
                     lc rgb '#2b7a78' title 'x ext4', \\
                 '' using (0.01):($0-0.16):(0.01):3:($0-0.31):($0-0.01) with boxxyerror \\
                     lc rgb '#d9a441' title 'x minimal FUSE'
        """)
    # gnuplot stamps the file with nothing that changes, so a picture of equal numbers is an equal file.
    if not Path(svg).stat().st_size:
        raise Wrong(f"{svg}: gnuplot drew nothing")
