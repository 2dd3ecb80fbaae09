"""``input_fn`` of an Estimator."""

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")
if not hasattr(tf, "estimator"):
    pytest.skip("this TensorFlow has no Estimator: make test-classic", allow_module_level=True)

import flightbridge.tf  # noqa: E402

FEATURES = [f"x{i}" for i in range(4)]


def input_fn(bridge, epochs, **settings):
    return lambda: flightbridge.tf.dataset(
        bridge.uri,
        "regression",
        batch_size=64,
        columns=FEATURES,
        label="y",
        epochs=epochs,
        **settings,
    )


def make_estimator(folder):
    columns = [tf.feature_column.numeric_column(name, shape=()) for name in FEATURES]
    return tf.estimator.LinearRegressor(
        columns,
        model_dir=str(folder),
        optimizer=lambda: tf.keras.optimizers.legacy.SGD(0.05),
        config=tf.estimator.RunConfig(tf_random_seed=1, save_checkpoints_steps=100),
    )


def test_train_evaluate_and_predict(bridge, tmp_path):
    estimator = make_estimator(tmp_path)
    before = estimator.train(input_fn(bridge, 1), steps=1).evaluate(input_fn(bridge, 1))
    estimator.train(input_fn(bridge, 4, shuffle=True))
    after = estimator.evaluate(input_fn(bridge, 1))
    assert after["average_loss"] < before["average_loss"] / 10
    assert after["global_step"] == 1 + 4 * 64  # each epoch is every row once
    assert sum(1 for _ in estimator.predict(input_fn(bridge, 1))) == 4096


def test_training_goes_on_from_its_checkpoint(bridge, tmp_path):
    make_estimator(tmp_path).train(input_fn(bridge, None), steps=10)
    again = make_estimator(tmp_path)
    again.train(input_fn(bridge, None), max_steps=25)
    assert again.get_variable_value("global_step") == 25


def test_train_and_evaluate(bridge, tmp_path):
    train = tf.estimator.TrainSpec(input_fn(bridge, None, shuffle=256), max_steps=150)
    evaluate = tf.estimator.EvalSpec(input_fn(bridge, 1), steps=None, throttle_secs=0)
    metrics, _ = tf.estimator.train_and_evaluate(make_estimator(tmp_path), train, evaluate)
    assert metrics["global_step"] == 150
