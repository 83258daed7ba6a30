#!/usr/bin/env python3
"""Draws gain over radius, ours and TomoPy's, from CSV files of the example gain_over_radius.

    for args in "512 809 0" "2560 1313 530"; do
        target/release/examples/gain_over_radius $args
    done | tools/plot_gain.py > docs/img/gain.svg
"""

import csv
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 64, 40, 20, 56
LOW, HIGH = 0.9, 2.2
COLOURS = {"ours": "#1a7f4b", "theirs": "#b3261e"}


def main():
    rows = [row for row in csv.DictReader(line for line in sys.stdin) if row["columns"] != "columns"]
    series = {}
    for row in rows:
        key = (int(row["columns"]), int(row["angles"]), int(row["padding"]))
        series.setdefault(key, []).append((float(row["radius"]), float(row["exact_mean"]), float(row["tomopy_mean"])))

    def x(radius):
        return LEFT + radius * (WIDTH - LEFT - RIGHT)

    def y(gain):
        return HEIGHT - BOTTOM - (min(gain, HIGH) - LOW) / (HIGH - LOW) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">What a disc of attenuation 1 comes out as</text>',
    ]
    for tick in range(9, 23, 1):
        gain = tick / 10
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(gain):.1f}" y2="{y(gain):.1f}" stroke="#e3e3e3"/>')
        if tick % 2 == 0:
            out.append(f'<text x="{LEFT - 8}" y="{y(gain) + 4:.1f}" text-anchor="end">{gain:.1f}</text>')
    for tick in range(0, 11, 2):
        out.append(f'<text x="{x(tick / 10):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick / 10:.1f}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">'
               "distance from the rotation axis / half width</text>")
    # The first line is solid, the second dashed, so that nobody needs the colours.
    for index, ((columns, angles, padding), points) in enumerate(sorted(series.items())):
        for name, column in (("ours", 1), ("theirs", 2)):
            path = " ".join(f"{x(p[0]):.1f},{y(p[column]):.1f}" for p in points if p[column] <= HIGH)
            dash = ' stroke-dasharray="7 5"' if index else ""
            out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>')
        at = TOP + 18 + 40 * index
        padded = f"padded by {padding}" if padding else "not padded"
        for line, (name, label) in enumerate((("ours", "beamrail, exact"), ("theirs", "TomoPy's gridrec"))):
            dash = ' stroke-dasharray="7 5"' if index else ""
            row = at + 18 * line
            out.append(f'<line x1="{LEFT + 16}" x2="{LEFT + 56}" y1="{row - 4}" y2="{row - 4}" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>')
            out.append(f'<text x="{LEFT + 64}" y="{row}">{label}: {columns} columns, {angles} angles, {padded}</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
