"""Result files in the benchmark's layout with made-up but plausible numbers, to test figures with and to draft them.

python tests/benchmarks/synthetic_results.py FOLDER    # FOLDER/results and FOLDER/reported
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DIMS, PIXELS = 3072, 1024
DATASET = "synthetic-test"

# Quality settings, header bytes, payload bits/dim and RMSE: about what the codecs do on small pictures.
PEERS: dict[str, tuple[str, int, Sequence[tuple[str, float, float, float]]]] = {
    "jpeg-420": (
        "JPEG 4:2:0",
        283,
        [
            ("q=5", 5, 0.13, 24.0),
            ("q=10", 10, 0.21, 18.9),
            ("q=30", 30, 0.418, 12.54),
            ("q=50", 50, 0.58, 10.4),
            ("q=80", 80, 0.924, 7.7),
            ("q=95", 95, 1.75, 5.6),
        ],
    ),
    "jpeg-444": (
        "JPEG 4:4:4",
        285,
        [
            ("q=5", 5, 0.16, 22.1),
            ("q=10", 10, 0.24, 17.4),
            ("q=30", 30, 0.479, 11.05),
            ("q=50", 50, 0.7, 8.9),
            ("q=80", 80, 1.18, 5.7),
            ("q=95", 95, 2.199, 2.63),
        ],
    ),
    "webp": (
        "WebP",
        58,
        [
            ("q=1", 1, 0.153, 17.72),
            ("q=20", 20, 0.336, 11.98),
            ("q=50", 50, 0.546, 8.72),
            ("q=80", 80, 0.883, 6.36),
            ("q=95", 95, 1.5, 4.9),
        ],
    ),
    "jpeg2000": (
        "JPEG 2000",
        252,
        [
            ("20 dB", 20, 0.33, 25.2),
            ("25 dB", 25, 0.734, 15.95),
            ("30 dB", 30, 1.425, 8.72),
            ("35 dB", 35, 2.241, 4.82),
            ("40 dB", 40, 3.1, 2.6),
        ],
    ),
    "avif": (
        "AVIF",
        307,
        [
            ("q=10", 10, 0.105, 18.94),
            ("q=30", 30, 0.222, 13.02),
            ("q=50", 50, 0.468, 8.34),
            ("q=70", 70, 0.833, 5.64),
            ("q=90", 90, 1.8, 2.9),
        ],
    ),
    "jpegxl": (
        "JPEG XL",
        60,
        [("q=20", 20, 0.27, 15.59), ("q=50", 50, 0.443, 11.69), ("q=80", 80, 0.852, 7.25), ("q=95", 95, 1.694, 3.87)],
    ),
}
LOSSLESS = {
    "diffcodec-lossless": ("diffcodec lossless", 18, 3.72),
    "png-lossless": ("PNG", 82, 5.663),
    "webp-lossless": ("WebP lossless", 30, 4.662),
    "jpegxl-lossless": ("JPEG XL lossless", 17, 4.055),
    "jpeg2000-lossless": ("JPEG 2000 lossless", 253, 6.119),
}
# Timestep, steps, ideal bits, RMSE.
OWN = [
    (500, 2, 24, 42.0),
    (300, 4, 122, 25.92),
    (200, 6, 240, 18.6),
    (100, 10, 478, 13.07),
    (50, 14, 870, 8.6),
    (20, 22, 1642, 4.87),
    (10, 30, 2500, 3.2),
    (5, 38, 3500, 2.1),
    (1, 52, 5674, 1.035),
]
TABLE_4 = [
    (1000, 1.77581, 0.95136),
    (900, 0.11994, 12.02277),
    (800, 0.05415, 18.47482),
    (700, 0.02866, 24.43656),
    (600, 0.01507, 30.80948),
    (500, 0.00716, 38.03236),
    (400, 0.00282, 46.12765),
    (300, 0.00081, 54.18826),
    (200, 0.00013, 60.9717),
    (100, 0.0, 67.60125),
]


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, median and a normal 95 % interval of every column."""
    summary: dict[str, Any] = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if row[name] is not None], float)
        if not len(values):
            summary[name] = {"mean": None, "median": None, "low": None, "high": None}
            continue
        half = 1.96 * values.std() / math.sqrt(len(values))
        summary[name] = {
            "mean": values.mean(),
            "median": float(np.median(values)),
            "low": values.mean() - half,
            "high": values.mean() + half,
        }
    mse = summary["mse"]
    summary["rmse_of_mean"] = {name: math.sqrt(max(mse[name], 0)) for name in mse}
    return summary


class Pictures:
    """Makes rows for the same pictures, each with its own difficulty, whatever the codec."""

    def __init__(self, images: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        hard = rng.normal(0, 1, images)
        self.bits = np.exp(0.35 * hard - 0.061)
        self.rmse = np.exp(0.2 * hard + rng.normal(0, 0.05, images) - 0.02)

    def distortion(self, rmse: float, image: int) -> dict[str, Any]:
        value = rmse * self.rmse[image]
        psnr_db = 20 * math.log10(255 / value) if value else None
        return {"mse": value**2, "rmse": value, "psnr_db": psnr_db, "ms_ssim": 1 - min(value / 100, 1)}

    def file(self, header_bytes: int, payload_bits: float, rmse: float, image: int) -> dict[str, Any]:
        payload_bytes = math.ceil(payload_bits * self.bits[image] / 8)
        file_bytes = header_bytes + payload_bytes
        return {
            "image": image,
            "width": 32,
            "height": 32,
            "file_bytes": file_bytes,
            "header_bytes": header_bytes,
            "payload_bytes": payload_bytes,
            "bpd": 8 * file_bytes / DIMS,
            "bpp": 8 * file_bytes / PIXELS,
            "payload_bpd": 8 * payload_bytes / DIMS,
            **self.distortion(rmse, image),
            "encode_s": 0.01,
            "decode_s": 0.01,
        }

    def own(self, timestep: int, steps: int, ideal: float, rmse: float, image: int, poisson: bool) -> dict[str, Any]:
        ideal_bits = ideal * self.bits[image] * (1.18 if poisson else 1)
        delivered = ideal_bits * (0.75 if poisson else 0.995)
        path = delivered * (1.36 if poisson else 1.06 + 0.06 * 120 / (ideal + 30))
        side = 3.5 * steps * 0.8
        row = self.file(17, 0, rmse * (1.09 if poisson else 1), image)
        row["payload_bytes"] = math.ceil((path + side) / 8)
        row["file_bytes"] = row["payload_bytes"] + 17
        row |= {"bpd": 8 * row["file_bytes"] / DIMS, "bpp": 8 * row["file_bytes"] / PIXELS}
        return row | {
            "payload_bpd": 8 * row["payload_bytes"] / DIMS,
            "timestep": timestep,
            "steps": steps,
            "side_bits": side,
            "path_bits": path,
            "ideal_bits": ideal_bits,
            "delivered_bits": delivered,
            "alpha_bytes": 0,
            "reference_bits": ideal_bits * 0.92,
            "network_s": 0.1,
            "coding_s": 0.02,
            "decode_network_s": 0.2,
            "decode_coding_s": 0.02,
        }


def point(setting: str, parameter: float, rows: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"setting": setting, "parameter": parameter, **more, "rows": list(rows), "summary": summarise(rows)}


def codec_record(codec: str, label: str, kind: str, points: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    images = len(points[0]["rows"])
    return {
        "codec": codec,
        "label": label,
        "dataset": DATASET,
        "kind": kind,
        "command": "made up",
        "machine": "none",
        "versions": {},
        "seed": 0,
        "images": images,
        "model": None,
        "points": list(points),
        **more,
    }


def bound_terms() -> list[dict[str, Any]]:
    """Rate and distortion at all timesteps, interpolated from the paper's table."""
    done = np.array([row[0] for row in TABLE_4[::-1]], float)
    rates = np.log([max(row[1], 1e-6) for row in TABLE_4[::-1]])
    rmse = np.log([row[2] for row in TABLE_4[::-1]])
    # The last hundred steps bring nearly all of the rate.
    done, rates = np.insert(done, -1, [950, 980, 995]), np.insert(rates, -1, np.log([0.22, 0.48, 0.95]))
    rmse = np.insert(rmse, -1, np.log([8.0, 4.6, 2.1]))
    terms = []
    for t in range(1000, 0, -1):
        steps_done = 1001 - t
        rate, error = (float(np.exp(np.interp(steps_done, done, values))) for values in (rates, rmse))
        terms.append(
            {
                "timestep": t,
                "steps_done": steps_done,
                "mse": (error / 127.5) ** 2,
                "bpd_fixedsmall": 0.001,
                "bpd_fixedlarge": 0.001,
                "rate_fixedsmall": rate * 1.08,
                "rate_fixedlarge": rate * 1.04,
                "rate_fine": rate * 0.95,
                "rmse_of_mean": error * 1.05,
                "mean_of_rmse": error * 1.03,
            }
        )
    return terms


def records(images: int = 20, seed: int = 0) -> dict[str, dict[str, Any]]:
    """All result files of a data set, by codec; poisson has half of the images."""
    pictures, everything = Pictures(images, seed), range(images)
    found = {}
    for codec, (label, header, settings) in PEERS.items():
        points = [
            point(
                setting,
                parameter,
                [pictures.file(header, bpd * DIMS, rmse, image) for image in everything],
                flat_grey_bytes=header,
            )
            for setting, parameter, bpd, rmse in settings
        ]
        found[codec] = codec_record(codec, label, "lossy", points)
    for codec, (label, header, bpd) in LOSSLESS.items():
        rows = [pictures.file(header, bpd * DIMS, 0, image) for image in everything]
        found[codec] = codec_record(codec, label, "lossless", [point("default", 0, rows)])
    for name, label, count in (("trellis", "diffcodec", images), ("poisson", "diffcodec, poisson", (images + 1) // 2)):
        points = [
            point(f"t={own[0]}", own[0], [pictures.own(*own, image, name == "poisson") for image in range(count)])
            for own in OWN
        ]
        found[f"diffcodec-{name}"] = codec_record(f"diffcodec-{name}", label, "lossy", points)
    points = []
    for t, _, ideal, rmse in OWN:
        rows = [
            {
                "image": image,
                "width": 32,
                "height": 32,
                "ideal_bits": ideal * pictures.bits[image],
                "ideal_bpd": ideal * pictures.bits[image] / DIMS,
                **pictures.distortion(rmse, image),
            }
            for image in everything
        ]
        points.append(point(f"t={t}", t, rows))
    codec = "diffcodec-true-sampling"
    found[codec] = codec_record(codec, "true sampling (ideal)", "bound", points)
    totals = {
        name: {"mean": value, "low": value - 0.1, "high": value + 0.1}
        for name, value in {
            "L_T": 1e-5,
            "L_fixedsmall": 1.9,
            "L_fixedlarge": 1.85,
            "L_0_fixedsmall": 1.97,
            "L_0_fixedlarge": 1.95,
            "total_fixedsmall": 3.87,
            "total_fixedlarge": 3.8,
            "total_paper": 3.82,
            "total_fine": 3.65,
        }.items()
    }
    terms = bound_terms()
    points = []
    for term in terms[99::100]:
        rows = [
            {
                "image": image,
                "ideal_bpd": term["rate_fixedlarge"] * pictures.bits[image],
                "rate_fixedlarge": term["rate_fixedlarge"] * pictures.bits[image],
                **pictures.distortion(term["rmse_of_mean"], image),
            }
            for image in everything
        ]
        points.append(point(f"{term['steps_done']} steps done", term["steps_done"], rows))
    found["ddpm-bound"] = codec_record("ddpm-bound", "DDPM bound", "bound", points, terms=terms, bound=totals)
    return found


def reported() -> dict[str, dict[str, Any]]:
    """Published numbers, by file name."""
    rows = [{"steps_done": done, "rate_bpd": rate, "rmse": rmse} for done, rate, rmse in TABLE_4]
    source = "Ho et al. (2020)"
    return {
        "ddpm-table4": {
            "source": source,
            "label": "DDPM, Table 4",
            "dataset": "cifar10-test",
            "kind": "reported",
            "points": rows,
        }
    }


def write_results(folder: Path, images: int = 20, seed: int = 0) -> tuple[Path, Path]:
    """Write all files; returns the folders of results and of published numbers."""
    results, published = folder / "results", folder / "reported"
    for target, files in ((results, records(images, seed)), (published, reported())):
        target.mkdir(parents=True, exist_ok=True)
        for name, record in files.items():
            (target / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    return results, published


if __name__ == "__main__":
    write_results(Path(sys.argv[1]), images=100)
