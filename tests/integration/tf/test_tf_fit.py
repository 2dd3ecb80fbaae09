"""Training from a feed: Keras 3, tf-keras, a loop of one's own."""

import numpy as np
import pytest

import flightbridge.tf

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

FEATURES = ["x0", "x1", "x2", "x3"]


def training_data(bridge, **kwargs):
    return flightbridge.tf.dataset(
        bridge,
        "regression",
        batch_size=128,
        columns=FEATURES,
        label="y",
        shuffle=True,
        seed=1,
        **kwargs,
    )


def model_of(keras):
    inputs = {name: keras.Input((1,), name=name) for name in FEATURES}
    joined = keras.layers.Concatenate()([inputs[name] for name in FEATURES])
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(joined))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    return model


@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_fit_learns(bridge, module):
    keras = pytest.importorskip(module)
    model = model_of(keras)
    data = training_data(bridge).map(
        lambda x, y: ({name: value[:, None] for name, value in x.items()}, y)
    )
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    assert losses[0] > 2 * losses[-1]
    assert losses[-1] < 0.05
    assert model.evaluate(data, verbose=0) < 0.05
    assert model.predict(data, verbose=0).shape == (4096, 1)


def test_fit_without_a_map(bridge):
    keras = pytest.importorskip("keras")
    if not hasattr(keras, "ops"):
        pytest.skip("Keras 2, with TensorFlow 2.15, has no operations to stack inputs with")
    inputs = {name: keras.Input((), name=name) for name in FEATURES}
    stacked = keras.ops.stack([inputs[name] for name in FEATURES], axis=1)
    model = keras.Model(inputs, keras.layers.Dense(1)(stacked))
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    history = model.fit(
        training_data(bridge), epochs=2, validation_data=training_data(bridge), verbose=0
    ).history
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_fit_with_steps_per_epoch(bridge):
    keras = pytest.importorskip("keras")
    model = model_of(keras)
    data = training_data(bridge, epochs=None).map(
        lambda x, y: ({name: value[:, None] for name, value in x.items()}, y)
    )
    losses = model.fit(data, epochs=3, steps_per_epoch=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def as_columns(x, *rest):
    return ({name: value[:, None] for name, value in x.items()}, *rest)


@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_sample_weights(bridge, module):
    keras = pytest.importorskip(module)
    data = flightbridge.tf.dataset(
        bridge, "weighted", batch_size=128, label="y", weight="w", shuffle=True, seed=1
    )
    features, label, weight = data.element_spec
    assert sorted(features) == FEATURES
    assert label == weight == tf.TensorSpec([128], tf.float32)
    model = model_of(keras)
    model.fit(data.map(as_columns), epochs=8, verbose=0)
    learned = np.concatenate([np.ravel(w) for w in model.get_weights()])
    # Half of the labels are 100, of weight 0: with them the bias would be near 50.
    np.testing.assert_allclose(learned, [1.0, -2.0, 3.0, 0.5, 0.25], atol=0.1)
    assert model.evaluate(data.map(as_columns), verbose=0) < 0.05
    assert model.predict(data.map(as_columns), verbose=0).shape == (2048, 1)


def test_class_weights(bridge):
    keras = pytest.importorskip("keras")
    data = flightbridge.tf.dataset(bridge, "types", batch_size=64, columns="float32", label="bool")
    data = data.map(lambda x, y: (x[:, None] * 0.0, tf.cast(y, tf.int32)))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer=keras.optimizers.SGD(5.0), loss="binary_crossentropy")
    model.fit(data, epochs=3, class_weight={0: 1e-6, 1: 1.0}, verbose=0)
    # A third of the rows are true; without the weights the answer were 0.33.
    assert model.predict(data, verbose=0).mean() > 0.8


def test_evaluate_and_predict_see_each_row_once(bridge):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile(loss="mse")
    data = flightbridge.tf.dataset(bridge, "plain", batch_size=64, columns="id", label="float32")
    found = model.predict(data.map(lambda x, y: tf.cast(x, tf.float32)[:, None]), verbose=0)
    np.testing.assert_array_equal(found[:, 0], np.arange(1003))
    loss = model.evaluate(
        data.map(lambda x, y: (tf.cast(x, tf.float32)[:, None], tf.cast(x, tf.float32) + 2.0)),
        verbose=0,
    )
    assert loss == pytest.approx(4.0)


def test_custom_loop(bridge):
    weights = tf.Variable(tf.zeros([4]))
    bias = tf.Variable(0.0)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            stacked = tf.stack([x[name] for name in FEATURES], axis=1)
            loss = tf.reduce_mean((tf.linalg.matvec(stacked, weights) + bias - y) ** 2)
        for variable, gradient in zip(
            (weights, bias), tape.gradient(loss, (weights, bias)), strict=True
        ):
            variable.assign_sub(0.05 * gradient)
        return loss

    for _ in range(3):
        for x, y in training_data(bridge):
            step(x, y)
    np.testing.assert_allclose(weights.numpy(), [1.0, -2.0, 3.0, 0.5], atol=0.05)


def test_ragged_features_train(bridge):
    keras = pytest.importorskip("keras")
    dataset = flightbridge.tf.dataset(
        bridge, "types", batch_size=64, columns="list_int", label="float32"
    )
    model = keras.Sequential([keras.layers.Embedding(8, 4), keras.layers.GlobalAveragePooling1D()])
    padded = dataset.map(
        lambda x, y: (x.to_tensor(shape=[None, 5]), y[:, None] * 0.0 + tf.ones([1, 4]))
    )
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse")
    losses = model.fit(padded, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
