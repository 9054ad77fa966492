#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Turn a bare Debian or Ubuntu machine into a working one: see `make help`.
#
#   scripts/setup.sh             runtime environment in .venv (no torch)
#   scripts/setup.sh --test      the same with the [dev] and [train] extras
#   scripts/setup.sh --train     the same with the [train] extra
#
# Environment: PYTHON (interpreter to use), VENV (default .venv), GPU=1 (onnxruntime-gpu).
# Where ROS 2 is sourced (ROS_DISTRO is set) it is used; otherwise ROS 2 Jazzy comes from PyPI.
# A stamp holds the hash of everything this depends on: repeating it costs a fraction of a second.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
EXTRAS=${GPU:+gpu}
EXTRAS=${EXTRAS:-cpu}
case "${1:-}" in
  --test) EXTRAS="$EXTRAS,train,dev" ;;
  --train) EXTRAS="$EXTRAS,train" ;;
  "") ;;
  *) echo "usage: scripts/setup.sh [--test|--train]" >&2; exit 2 ;;
esac

say() { printf 'make setup: %s\n' "$*"; }
fail() { printf 'make setup: %s\n' "$*" >&2; exit 1; }
# pip reads its own configuration; a message about an absent local index is not worth a line.
pip_install() { "$VENV/bin/python" -m pip install --disable-pip-version-check -q "$@" 2> >(grep -v "^WARNING: Location" >&2); }

# The wheels' start-up may have left these in the environment of a calling process.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
MODE=wheels
[ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] && command -v ros2 >/dev/null && MODE=sourced

usable_python() { # an interpreter that really runs (a version manager's shim may not) and fits
  "$1" -c "import sys; sys.exit(not ($2))" >/dev/null 2>&1
}

find_python() {
  local wanted="(3, 11) <= sys.version_info[:2] <= (3, 13)" candidate
  if [ "$MODE" = sourced ]; then wanted="sys.version_info[:2] >= (3, 10)"; fi
  if [ -n "${PYTHON:-}" ]; then
    usable_python "$PYTHON" "$wanted" || fail "PYTHON=$PYTHON does not run or is not 3.11 to 3.13 (the ROS 2 wheels are built for those)"
    echo "$PYTHON"; return
  fi
  for candidate in python3 python3.12 python3.11 python3.13; do
    if usable_python "$candidate" "$wanted"; then echo "$candidate"; return; fi
  done
  fail "no usable Python: 3.11, 3.12 or 3.13 is needed (the ROS 2 wheels are built for those); e.g. sudo apt-get install python3.11-venv, or source a ROS 2 installation first"
}

if [ "$MODE" = wheels ]; then
  [ "$(uname -s)" = Linux ] || fail "Linux is needed (this is $(uname -s))"
  [ "$(uname -m)" = x86_64 ] || fail "the ROS 2 wheels exist for x86_64 only and this machine is $(uname -m). Install ROS 2 with apt (Jetson: the Humble or Jazzy packages), run 'source /opt/ros/\$ROS_DISTRO/setup.bash' and call 'make setup' again"
fi
PYTHON=$(find_python)

CONSTRAINTS=constraints.txt
[ "$MODE" = sourced ] && CONSTRAINTS=constraints-ros.txt
stamp_of() {
  { cat scripts/setup.sh scripts/build_interfaces.py scripts/interface_build_requirements.txt setup.py \
      "$CONSTRAINTS"; find interfaces -type f | LC_ALL=C sort | xargs cat
    "$PYTHON" -c "import sys; print(sys.version, sys.prefix)"
    echo "$MODE ${ROS_DISTRO:-} ${AMENT_PREFIX_PATH:-} $PWD"; } | sha256sum | cut -c1-16
}
HASH=$(stamp_of)
STAMP="$VENV/.nemo_setup"
# A stamp lists the extras that are installed; asking for fewer is satisfied by more.
if [ -f "$STAMP" ] && [ "$(head -1 "$STAMP")" = "$HASH" ]; then
  have=",$(sed -n 2p "$STAMP"),"; missing=
  for extra in ${EXTRAS//,/ }; do case "$have" in *",$extra,"*) ;; *) missing=1 ;; esac; done
  if [ -z "$missing" ]; then say "$VENV is up to date"; exit 0; fi
  EXTRAS=$(printf '%s\n' ${EXTRAS//,/ } $(sed -n 2p "$STAMP" | tr , ' ') | sort -u | grep -v '^$' | paste -sd,)
  case ",$EXTRAS," in *,cpu,*) case ",$EXTRAS," in *,gpu,*) fail "$VENV holds the other onnxruntime (cpu and gpu cannot share an environment): remove $VENV, or set VENV=.venv-gpu" ;; esac ;; esac
fi

if [ ! -x "$VENV/bin/python" ]; then
  say "making $VENV with $("$PYTHON" --version) ($MODE)"
  "$PYTHON" -c "import ensurepip" 2>/dev/null ||
    fail "Python's venv module is missing: sudo apt-get install python3-venv"
  if [ "$MODE" = sourced ]; then "$PYTHON" -m venv --system-site-packages "$VENV"; else "$PYTHON" -m venv "$VENV"; fi
fi
rm -f "$STAMP"

if [ "$MODE" = wheels ]; then
  say "compiling interfaces beside the downloads (once, about a minute; later from the cache)"
  "$PYTHON" scripts/build_interfaces.py > "$VENV/interfaces" &
  BUILD=$!
  trap 'kill "$BUILD" 2>/dev/null || true' EXIT
  say "ROS 2 Jazzy wheels and dependencies [$EXTRAS]"
  pip_install -c "$CONSTRAINTS" ros-jazzy-rclpy ros-jazzy-rmw-fastrtps-cpp \
    ros-jazzy-common-interfaces ros-jazzy-lifecycle-msgs -e ".[$EXTRAS]"
  # Runs a genuine launch file where the real launch is not to be had. Without its dependencies:
  # they serve its plots.
  pip_install -c "$CONSTRAINTS" --no-deps play-launch ||
    say "play-launch has no wheel for this machine: nemo_ros.plain_launch is used instead"
  wait "$BUILD" || fail "the interfaces could not be compiled (see above)"
  trap - EXIT
  # The version stays the same when the fields change, so pip has to be told.
  pip_install --no-deps --force-reinstall "$(cat "$VENV/interfaces")"
else
  "$VENV/bin/python" -c "import vision_msgs.msg" 2>/dev/null ||
    fail "vision_msgs is missing: sudo apt-get install ros-$ROS_DISTRO-vision-msgs"
  say "runtime dependencies [$EXTRAS] beside ROS 2 $ROS_DISTRO"
  pip_install -c "$CONSTRAINTS" -e ".[$EXTRAS]"
fi

# An editable install has no data files: link them, as colcon build --symlink-install does.
SHARE="$VENV/share/nemo_ros"
mkdir -p "$SHARE" "$VENV/share/ament_index/resource_index/packages" "$VENV/lib/nemo_ros" models
for name in launch config models package.xml; do ln -sfn "$PWD/$name" "$SHARE/$name"; done
ln -sfn "$PWD/resource/nemo_ros" "$VENV/share/ament_index/resource_index/packages/nemo_ros"
ln -sfn ../../bin/pose_node "$VENV/lib/nemo_ros/pose_node"

"$VENV/bin/python" - <<'PY' || fail "the environment does not work (see above); remove it and call make setup again"
import rclpy  # noqa: F401
from vision_msgs.msg import Detection3DArray  # noqa: F401
import cv2, numba, numpy, onnxruntime  # noqa: E401, F401
print("make setup: rclpy, vision_msgs, onnxruntime", onnxruntime.__version__, "numpy", numpy.__version__)
PY
printf '%s\n%s\n' "$HASH" "$EXTRAS" > "$STAMP"

if [ -f models/car/card.json ]; then
  say "compiling the solver (once, half a minute), so that no node has to when it starts"
  "$VENV/bin/python" -c "
from nemo_ros.pipeline import load_estimators, warm_up
warm_up(load_estimators('models/car'))" || say "models/car does not run yet (see above)"
fi
say "done: source $VENV/bin/activate, or make demo"
