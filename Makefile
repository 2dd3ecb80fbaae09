# The commands a person needs. Each target sets up what it needs and reuses what is there.
#   make demo   the main job: Spark -> bridge -> tf.data -> a trained recommender
#   make test   every test
# Others: build, jar, jar-3.5, test-spark-3.5, test-fast, test-java, test-native, test-asan, test-tsan, test-torch, test-jax, test-classic,
# test-tensorflow, test-op, lint, format, wheel, bench, fuzz, chaos, chaos-spark, clean.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
JOBS ?= $(shell nproc)
ARGS ?=

NATIVE_SOURCES := $(shell find native proto CMakeLists.txt pyproject.toml -type f \
                    -not -name '*.md' 2>/dev/null)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export SPARK_LOCAL_IP ?= 127.0.0.1

.PHONY: help setup build jar demo test test-fast test-java test-python test-native test-asan test-tsan lint lint-fast \
        format wheel test-wheel \
        jar-3.5 kafka test-spark-3.5 test-torch test-jax test-classic test-tensorflow test-op bench fuzz chaos chaos-spark clean

help:
	@sed -n '2,4p' Makefile | sed 's/^# *//'

setup: $(VENV)/.installed

# Python packages. The compiled wheels are large, so a finished set-up is kept until pyproject.toml
# changes.
$(VENV)/.installed: pyproject.toml native/tools/requirements.py native/tools/system_packages.sh
	@PYTHON=$(PYTHON) native/tools/system_packages.sh
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "== installing Python packages into $(VENV) (TensorFlow and Spark: about 1.5 GB)"
	@$(PY) -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@$(PY) native/tools/requirements.py tensorflow spark build test lint > $(VENV)/requirements.txt
	@$(PY) -m pip install -q --disable-pip-version-check -r $(VENV)/requirements.txt
	@touch $@

build: $(VENV)/.built

$(VENV)/.built: $(VENV)/.installed $(NATIVE_SOURCES)
	@echo "== building the native core (about two minutes the first time on 2 cores)"
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . \
	  -C build.tool-args=-j$(JOBS) \
	  > $(VENV)/build.log 2>&1 || { tail -n 60 $(VENV)/build.log; exit 1; }
	@touch $@

# The Spark connector, where the Python package finds it and takes it into the wheel.
MVN := mvn -q -B -f spark_plugin/pom.xml
JARS := flightbridge/spark/jars
JAVA_SOURCES := $(shell find spark_plugin/src spark_plugin/pom.xml proto -type f 2>/dev/null)

jar: $(JARS)/.built

$(JARS)/.built: $(JAVA_SOURCES) | $(VENV)/.installed
	@echo "== building the Spark connector"
	@mkdir -p build
	@$(MVN) package -DskipTests > build/jar.log 2>&1 || { tail -n 60 build/jar.log; exit 1; }
	@mkdir -p $(JARS) && rm -f $(JARS)/flightbridge-spark-4_*.jar && cp spark_plugin/target/flightbridge-spark-*.jar $(JARS)/
	@touch $@

# The connector for Spark 3.5 as pip brings it, on Scala 2.12; not in the wheel.
jar-3.5: $(JARS)/.built-3.5

$(JARS)/.built-3.5: $(JAVA_SOURCES) | $(VENV)/.installed
	@echo "== building the Spark connector for Spark 3.5"
	@mkdir -p build $(JARS)
	@$(MVN) -P spark-3.5 -DbuildDirectory=$(CURDIR)/build/spark-3.5 package -DskipTests \
	  > build/jar-3.5.log 2>&1 || { tail -n 60 build/jar-3.5.log; exit 1; }
	@cp build/spark-3.5/flightbridge-spark-3.5_*.jar $(JARS)/
	@touch $@

# A Kafka broker and Spark's source for it, which tests of streams run.
kafka: build/kafka/.ready

build/kafka/.ready: tests/integration/kafka/pom.xml | $(VENV)/.installed
	@echo "== getting Kafka, for the tests (50 MB)"
	@mkdir -p build
	@mvn -q -B -f $< dependency:copy-dependencies -DincludeScope=runtime \
	  -DoutputDirectory=$(CURDIR)/build/kafka > build/kafka.log 2>&1 || { tail -n 60 build/kafka.log; exit 1; }
	@touch $@

demo: build jar
	@$(PY) examples/movielens_fm.py $(ARGS)

# The runner's closing line comes last: .ci/run hands it on.
test: build jar test-java test-native test-asan test-tsan test-op test-wheel test-python

test-fast: build jar test-native
	@$(PY) -m pytest -m 'not slow' $(ARGS)

test-python: build jar kafka
	@$(PY) -m pytest $(ARGS)

test-java: | $(VENV)/.installed
	@echo "== Java tests of the Spark connector"
	@mkdir -p build
	@$(MVN) test > build/test-java.log 2>&1 || { tail -n 60 build/test-java.log; exit 1; }
	@$(MVN) -P spark-3.5 -DbuildDirectory=$(CURDIR)/build/spark-3.5 compile > build/test-java.log 2>&1 \
	  || { tail -n 60 build/test-java.log; exit 1; }

# native_tests BUILD_DIR SANITIZER
define native_tests
	@cmake -S . -B $(1) -G Ninja -DPython_EXECUTABLE=$(CURDIR)/$(PY) -DFB_BUILD_TESTS=ON \
	  -DFB_BUILD_PYTHON=OFF -DFB_BUILD_TF=OFF -DFB_BUILD_BENCHMARKS=OFF -DFB_SANITIZE=$(2) \
	  > $(1).log 2>&1 && ninja -C $(1) -j$(JOBS) fb_tests >> $(1).log 2>&1 \
	  || { tail -n 60 $(1).log; exit 1; }
endef

# Frameworks that the tests need and the project does not: each in an environment that adds it to the
# main one, made once and reused. PyTorch comes with CUDA, 5 GB.
test-torch: .venv-torch/.installed build
	@.venv-torch/bin/python -m pytest tests/frameworks/test_torch.py $(ARGS)

# Spark 3.5 with the connector of `make jar-3.5`.
test-spark-3.5: .venv-spark-3.5/.installed build jar-3.5
	@.venv-spark-3.5/bin/python -m pytest tests/spark35 $(ARGS)

.venv-spark-3.5/.installed: pyproject.toml native/tools/overlay_venv.py | $(VENV)/.installed
	@echo "== installing pyspark 3.5 into .venv-spark-3.5"
	@$(PY) native/tools/overlay_venv.py .venv-spark-3.5 --no-deps 'pyspark>=3.5.7,<3.6' 'py4j==0.10.9.7'
	@touch $@

test-jax: .venv-jax/.installed build
	@.venv-jax/bin/python -m pytest tests/frameworks/test_jax.py $(ARGS)

# TensorFlow 2.15.1, tensorflow-io 0.36.0, pyarrow 25.0.1, numpy 1.26: what needs Estimator, sessions and
# tensorflow-io, and the tests of the tf.data source. Builds the project a second time, in .venv-classic.
CLASSIC_PYTHON ?= python3.11
CLASSIC_PY := .venv-classic/bin/python

test-classic: .venv-classic/.built
	@$(CLASSIC_PY) -m pytest tests/classic tests/integration/tf tests/integration/test_batches.py \
	  tests/integration/test_client.py tests/integration/test_streaming.py $(ARGS)

.venv-classic/.built: .venv-classic/.ready $(NATIVE_SOURCES)
	@echo "== building the native core against pyarrow 25 and TensorFlow 2.15"
	@mkdir -p build
	@$(CLASSIC_PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . \
	  -C build-dir=build/classic -C build.tool-args=-j$(JOBS) \
	  > build/classic.log 2>&1 || { tail -n 60 build/classic.log; exit 1; }
	@touch $@

.venv-classic/.ready: pyproject.toml
	@$(CLASSIC_PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "$(CLASSIC_PYTHON) is not Python 3.11 with venv, which TensorFlow 2.15 and tensorflow-io 0.36 need:" >&2; \
	  echo "install python3.11, python3.11-venv and python3.11-dev (or with pyenv: pyenv install 3.11)," >&2; \
	  echo "or name one: make test-classic CLASSIC_PYTHON=/path/to/python3.11" >&2; exit 1; }
	@PYTHON=$(CLASSIC_PYTHON) native/tools/system_packages.sh
	@test -x $(CLASSIC_PY) || $(CLASSIC_PYTHON) -m venv .venv-classic
	@echo "== installing Python packages into .venv-classic (about 2.5 GB)"
	@$(CLASSIC_PY) -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@$(CLASSIC_PY) -m pip install -q --disable-pip-version-check --group classic
	@touch $@

# The tf.data source with another TensorFlow: make test-tensorflow TF=2.18.1. The op is built from its
# sources, as it is for users, and the rest is the main environment's; before 2.18, which is when TensorFlow
# took to numpy 2, the classic one's.
TF ?= 2.18.1
OLD_TF := $(filter 2.16.% 2.17.%,$(TF))
test-tensorflow: $(if $(OLD_TF),.venv-classic/.built,build)
	@echo "== TensorFlow $(TF) over the $(if $(OLD_TF),classic,main) environment, in .venv-tf$(TF)"
	@$(if $(OLD_TF),$(CLASSIC_PY),$(PY)) native/tools/overlay_venv.py .venv-tf$(TF) \
	  --no-deps tensorflow-cpu==$(TF)
	@.venv-tf$(TF)/bin/python -m flightbridge.tf.build > /dev/null
	@.venv-tf$(TF)/bin/python -m pytest tests/integration/tf/test_tf_dataset.py \
	  tests/integration/tf/test_tf_shards.py tests/integration/tf/test_tf_refusals.py \
	  tests/integration/tf/test_tf_checkpoint.py $(ARGS)

# Compiles and links the op against the headers of other TensorFlows: the oldest, in `make test`, which has
# the newest installed; make test-op TFS='2.16.2 2.17.1 2.18.1 2.19.1 2.20.0' for those between.
TFS ?= 2.15.1
test-op: build
	@echo "== the tf.data op against TensorFlow $(TFS)"
	@$(PY) native/tools/compile_op.py build $(TFS)

.venv-%/.installed: pyproject.toml native/tools/overlay_venv.py | $(VENV)/.installed
	@echo "== installing what test-$* needs into .venv-$*"
	@$(PY) native/tools/overlay_venv.py .venv-$* test-$*
	@touch $@

# In the build directory of the Python package, so that the core is compiled once for both.
test-native: build
	@echo "== native tests"
	@set -e; dir=$$(ls -td build/cp*/ | head -n 1); \
	cmake -B $$dir -DFB_BUILD_TESTS=ON > build/native-tests.log 2>&1 \
	  && ninja -C $$dir -j$(JOBS) fb_tests fb_failpoints >> build/native-tests.log 2>&1 \
	  || { tail -n 60 build/native-tests.log; exit 1; }; \
	$$dir/native/tests/fb_tests --gtest_brief=1

test-asan: $(VENV)/.installed
	@mkdir -p build && echo "== native tests under AddressSanitizer and UBSan"
	$(call native_tests,build/native-asan,address)
	@ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/native/tests/lsan.supp:print_suppressions=0 \
	  build/native-asan/native/tests/fb_tests --gtest_brief=1

# Without the mutations of single messages: they run on one thread, and their thousands of stores
# overflow the table of the deadlock detector. With malloc for Arrow's memory: TSan does not see that Arrow's
# own allocator, which is not instrumented, hands memory from one thread to another.
test-tsan: $(VENV)/.installed
	@mkdir -p build && echo "== native tests under ThreadSanitizer"
	$(call native_tests,build/native-tsan,thread)
	@ARROW_DEFAULT_MEMORY_POOL=system \
	  TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$(CURDIR)/native/tests/tsan.supp \
	  build/native-tsan/native/tests/fb_tests --gtest_brief=1 --gtest_filter='-*Fuzz*'

lint: lint-fast
	@echo "== clang-tidy"
	@$(PY) native/tools/tidy.py --jobs $(JOBS)

lint-fast: build
	@echo "== ruff, mypy, clang-format, google-java-format"
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/clang-format --dry-run -Werror $$(git ls-files 'native/*.h' 'native/*.cc')
	@$(MVN) spotless:check

format: setup
	@$(VENV)/bin/ruff check --fix -q . ; $(VENV)/bin/ruff format -q .
	@$(VENV)/bin/clang-format -i $$(git ls-files 'native/*.h' 'native/*.cc')
	@$(MVN) spotless:apply

wheel: $(VENV)/.installed jar
	@$(PY) -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist . \
	  -C build.tool-args=-j$(JOBS)
	@ls -1 dist/*.whl

# Installs the wheel into a clean environment beside the same pyarrow and uses it.
test-wheel: wheel
	@$(PY) native/tools/check_wheel.py dist

bench: build
	@for what in put get tf shuffle step move; do $(VENV)/bin/flightbridge bench $$what $(ARGS) || exit 1; done

# Every byte that comes from outside, mutated for FUZZ_SECONDS per target under ASan and UBSan. A crash
# shows its seed: FLIGHTBRIDGE_FUZZ_SEED=N make fuzz repeats it.
FUZZ_SECONDS ?= 300
fuzz: $(VENV)/.installed
	@mkdir -p build && echo "== fuzz targets, $(FUZZ_SECONDS) s each"
	$(call native_tests,build/native-asan,address)
	@FLIGHTBRIDGE_FUZZ_SECONDS=$(FUZZ_SECONDS) ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 \
	  LSAN_OPTIONS=suppressions=$(CURDIR)/native/tests/lsan.supp:print_suppressions=0 \
	  build/native-asan/native/tests/fb_tests --gtest_filter='*Fuzz.*'

# Kills, stops and restarts a server under writers and readers, at random, for MINUTES. A failure names
# its seed: make chaos SEED=N repeats that schedule (REPEAT=20: so often).
MINUTES ?= 10
chaos: build
	@$(PY) -m tests.fault.chaos --jobs $(JOBS) --repeat $(or $(REPEAT),1) \
	  $(if $(SEED),--seed $(SEED),--minutes $(MINUTES))

# Spark jobs on a standalone cluster, whose executors are killed at random, ROUNDS of them one after the
# other. A failure names its seed: make chaos-spark SEED=N repeats that round alone.
chaos-spark: build jar
	@$(PY) -m tests.fault.spark_chaos --rounds $(or $(ROUNDS),$(if $(SEED),1,100)) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf build dist $(JARS) spark_plugin/target .mypy_cache .pytest_cache .ruff_cache $(VENV)/.built
