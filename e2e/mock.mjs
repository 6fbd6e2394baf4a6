// Serves a commercetools that is not ours on a free port of loopback and prints
// its address. It has as many customers as the first argument says, with ids in
// the order in which they were added.
import { CommercetoolsMock } from "@labdigital/commercetools-mock";

const mock = new CommercetoolsMock({
  strict: true, silent: true, enableAuthentication: true, validateCredentials: true, defaultProjectKey: "shop",
});
for (let i = 0; i < Number(process.argv[2] ?? 0); i++) {
  await mock.project("shop").unsafeAdd("customer", {
    id: `00000000-0000-4000-8000-${String(i).padStart(12, "0")}`, version: 1,
    email: `c${i}@example.com`, firstName: `First${i}`, lastName: "Last", addresses: [{ id: "a", country: "DE", mobile: `+49${i}` }],
    shippingAddressIds: [], billingAddressIds: [], stores: [], isEmailVerified: false, authenticationMode: "ExternalAuth",
  });
}
console.log(await mock.app.listen({ port: 0, host: "127.0.0.1" }));
